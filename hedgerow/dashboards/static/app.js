"use strict";
// Registers the service worker, and subscribes this browser to notices where a form asks for it.

// It fetches pages to keep, which would delay this one.
const register = () => navigator.serviceWorker?.register("/service-worker.js");
if (document.readyState === "complete") register();
else addEventListener("load", register);

// Addresses such as /people/mia#switch-tiktok name something in a part of that page, which opens from its tile.
let fragment = "";
try {
  fragment = decodeURIComponent(location.hash.slice(1));
} catch { /* Such as #%, which names nothing. */ }
const part = document.getElementById(fragment.startsWith("switch-") && !document.getElementById(fragment) ? "services" : fragment);
const tile = part?.closest(".facts li")?.querySelector("a");
const item = fragment.startsWith("switch-") ? `?switch=${encodeURIComponent(fragment.slice("switch-".length))}` : "";
if (tile) location.replace(tile.href + item + location.hash);

// What somebody unfolds at the end of the window would lie beneath the bar at the bottom of a phone.
let unfolded = null;
document.addEventListener("click", ({ target }) => { unfolded = target.closest?.("summary")?.parentElement ?? null; });
document.addEventListener("toggle", ({ target }) => {
  if (target === unfolded && target.open && target.offsetHeight < innerHeight / 2) target.scrollIntoView({ block: "nearest" });
}, true);

// What was done moves from the top of the page to a strip above the bar, where it is announced. It has no time limit: it goes when it is
// closed, or some seconds after somebody taps elsewhere, but not from under the keyboard.
const said = document.getElementById("said");
const told = said?.firstElementChild;
if (told) {
  const room = (pixels) => document.documentElement.style.setProperty("--said", `${pixels}px`);
  const close = () => { told.remove(); room(0); };
  const closer = told.querySelector("[data-close]");
  told.remove();
  said.classList.add("toast");
  closer.hidden = false;
  closer.addEventListener("click", close);
  requestAnimationFrame(() => { said.append(told); room(said.offsetHeight); });
  addEventListener("pointerdown", ({ target }) => {
    if (!said.contains(target)) setTimeout(() => { if (!said.contains(document.activeElement)) close(); }, 4000);
  });
}

// After a form, its page is shown again where it was left: as far down, and with the same parts unfolded.
const stored = window.sessionStorage ?? null;
addEventListener("submit", ({ target }) => {
  if (target.method !== "post") return;
  const open = [...document.querySelectorAll("main details[open][id]")].map((each) => each.id);
  stored?.setItem("left", JSON.stringify({ path: location.pathname, y: scrollY, open }));
});
const left = JSON.parse(stored?.getItem("left") ?? "null");
stored?.removeItem("left");
if (left?.path === location.pathname && /[?&](done|saved)=/.test(location.search) && !location.hash) {
  for (const id of left.open) document.getElementById(id)?.setAttribute("open", "");
  scrollTo(0, left.y);
}

const form = document.getElementById("push");

// Browsers take notices by HTTPS only. It has the same host and port.
const secure = document.getElementById("by-https");
if (secure && location.protocol === "http:" && !window.isSecureContext) {
  secure.href = `https://${location.host}${location.pathname}`;
  secure.hidden = false;
}

function octets(text) {
  const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(plain, (letter) => letter.charCodeAt(0));
}

async function subscribe(event) {
  event.preventDefault();
  const problem = document.getElementById("push-problem");
  problem.hidden = true;
  try {
    if ((await Notification.requestPermission()) !== "granted") throw new Error("no permission");
    const worker = await navigator.serviceWorker.ready;
    const key = octets(form.dataset.key);
    const subscription = await worker.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
    const { endpoint, keys } = subscription.toJSON();
    form.elements.endpoint.value = endpoint;
    form.elements.p256dh.value = keys.p256dh;
    form.elements.auth.value = keys.auth;
    const { mailbox } = form.elements;
    if (new URL(endpoint).hostname.endsWith(".push.apple.com") && !mailbox.value) {
      mailbox.parentElement.hidden = false;
      mailbox.required = true;
      mailbox.focus();
    } else form.submit();
  } catch {
    problem.hidden = false;
  }
}

if (form && "serviceWorker" in navigator && "PushManager" in window) {
  document.getElementById("push-insecure").hidden = true;
  form.hidden = false;
  form.elements.mailbox.parentElement.hidden = !form.elements.mailbox.value;
  form.addEventListener("submit", subscribe);
}

// A form whose answer comes from elsewhere is sent again until it is there: 202 says that it is not. A phone that shows
// another app meanwhile loses a request, and the other server may be out of reach for a while.
const PATIENCE_MS = 900_000;

async function askAgain(waiting) {
  const begun = Date.now();
  for (let pause = 1000; Date.now() - begun < PATIENCE_MS; ) {
    await new Promise((go) => setTimeout(go, pause));
    const body = new URLSearchParams(new FormData(waiting));
    const answer = await fetch(waiting.action, { method: "POST", body }).catch(() => null);
    pause = answer === null || !answer.ok ? 5000 : 1000;
    if (answer === null || !answer.ok || answer.status === 202) continue;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.getElementById("main").replaceWith(page.getElementById("main"));
    return;
  }
}

const waiting = document.querySelector("form[data-ask-again]");
if (waiting) askAgain(waiting).catch(() => {});  // its button does the same
