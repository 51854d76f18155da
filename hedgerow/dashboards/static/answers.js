"use strict";
// Tells a child of an answer that arrives while its page is in the background: by a notice if the browser may show some, and in the tab's
// title. It asks for that by a tap only. Nothing is sent anywhere.

const button = document.querySelector("[data-notices]");
const usual = document.title;
const answered = () => new Map([...document.querySelectorAll("[data-answer]")].map((each) => [each.dataset.answer, each]));
let known = answered();

// An answer in words, without its buttons.
function words(row) {
  const said = row.cloneNode(true);
  for (const form of said.querySelectorAll("form")) form.remove();
  return said.textContent.replace(/\s+/g, " ").trim();
}

async function notify(body) {
  const options = { body, tag: "answer", icon: "/static/icon-192.png", data: { page: "/device" } };
  const worker = await navigator.serviceWorker?.getRegistration();
  if (worker) return worker.showNotification(button.dataset.notices, options);
  const notice = new Notification(button.dataset.notices, options);
  notice.addEventListener("click", () => { window.focus(); notice.close(); });
}

function tell() {
  const now = answered();
  const fresh = [...now].filter(([key]) => !known.has(key)).map(([, row]) => words(row));
  known = now;
  if (!fresh.length || document.visibilityState === "visible") return;
  document.title = `${button.dataset.notices} – ${usual}`;
  if (window.Notification?.permission === "granted") notify(fresh.join("\n")).catch(() => {});  // the title says it too
}

if (button) {
  const mayAsk = () => window.isSecureContext && window.Notification?.permission === "default";
  button.hidden = !mayAsk();
  document.querySelector("[data-insecure]")?.toggleAttribute("hidden", window.isSecureContext);
  button.addEventListener("click", async () => {
    await Notification.requestPermission();
    button.hidden = !mayAsk();
    // Phones show notices by a service worker only. A certificate that the device does not trust allows none.
    if (Notification.permission === "granted") await navigator.serviceWorker?.register("/service-worker.js").catch(() => {});
  });
  document.addEventListener("visibilitychange", () => { if (document.visibilityState === "visible") document.title = usual; });
  new MutationObserver(tell).observe(document.querySelector("main"), { childList: true, subtree: true });
}
