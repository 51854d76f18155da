"use strict";
// Keeps the parts of a page up to date: the server names those that changed, and only these are fetched. Also searches long lists.
// Without this file the page stays as it was loaded.

const SILENCE_MS = 2800;  // the server says something every second
const ANSWER_MS = 1000;
const BUSY_MS = 20000;  // a part is left alone for so long after somebody chose or typed something in it
const HIDDEN_MS = 60000;  // a page that nobody sees stops listening after so long

const parts = new Map([...document.querySelectorAll("[data-live]")].map((part) => [part.dataset.live, part]));
const waiting = new Set();
const touched = new Map();
const shown = new Map([...parts].map(([name, part]) => [name, part.innerHTML]));
let isPressed = false;  // replacing a button under a finger would lose the tap
let fetching = false;
let source = null;
let heard = 0;  // when the server last said something
let quietSince = Date.now();
let isAway = false;
let isAsking = false;
const banner = document.getElementById("offline");

// While the server is out of reach, its last state is shown as such, and buttons that would lead nowhere are disabled.
const setAway = (away) => {
  if (away === isAway || !banner) return;
  isAway = away;
  banner.hidden = !away;
  if (away && heard) banner.querySelector("time").textContent = new Date(heard).toLocaleTimeString(document.documentElement.lang, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  for (const each of document.querySelectorAll("main form :is(button, select, input, textarea)")) {
    if (away && !each.disabled) {
      each.disabled = true;
      each.dataset.away = "";
    } else if (!away && "away" in each.dataset) {
      each.disabled = false;
      delete each.dataset.away;
    }
  }
};

const hear = () => {
  heard = quietSince = Date.now();
  setAway(false);
};

// A stream that breaks or falls silent may mean that the server is away, or only that it has no place for another one.
const ask = async () => {
  if (isAsking) return;
  isAsking = true;
  try {
    const answer = await fetch("/healthz", { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS) });
    if (answer.status >= 500 && answer.status !== 503) throw new Error("a proxy answers for it");
    quietSince = Date.now();
    setAway(false);
    if (source?.readyState === EventSource.CLOSED) listen();
  } catch {
    setAway(true);
  } finally {
    isAsking = false;
  }
};

for (const [name, part] of parts) {
  part.addEventListener("input", () => touched.set(name, Date.now()));
}

// What identifies a button or link across two versions of a part.
const keyOf = (element) => JSON.stringify([
  element.id, element.tagName, element.name || "", element.value || "", element.getAttribute("href") || "",
  element.getAttribute("aria-label") || element.textContent.trim(), element.form?.getAttribute("action") || "",
]);

for (const [type, pressed] of [["pointerdown", true], ["pointerup", false], ["pointercancel", false]]) {
  addEventListener(type, () => { isPressed = pressed; if (!pressed && waiting.size) setTimeout(refresh, 300); });
}

const isBusy = (name) => {
  if (isPressed) return true;
  const focused = document.activeElement;
  const isTyping = parts.get(name).contains(focused) && focused.matches("input:not([type=hidden]), select, textarea");
  return isTyping && Date.now() - (touched.get(name) ?? 0) < BUSY_MS;
};

const replace = (name, part, text) => {
  const fresh = new DOMParser().parseFromString(text, "text/html").body;
  if (fresh.innerHTML.trim() === shown.get(name).trim()) return;
  shown.set(name, fresh.innerHTML);
  const open = new Set([...part.querySelectorAll("details[open][id]")].map((each) => each.id));
  for (const each of fresh.querySelectorAll("details[id]")) {
    if (open.has(each.id)) each.open = true;
  }
  const values = new Map([...part.querySelectorAll("input[id]")].map((each) => [each.id, each.value]));
  const focused = part.contains(document.activeElement) ? keyOf(document.activeElement) : null;
  part.replaceChildren(...fresh.childNodes);
  for (const [id, value] of values) {
    const input = document.getElementById(id);
    if (input) input.value = value;
  }
  if (focused !== null) {
    [...part.querySelectorAll("button, a, summary, input, select")].find((each) => keyOf(each) === focused)?.focus({ preventScroll: true });
  }
  showSearches(part);
  tell(part);
};

// The number of requests in the title, and in words for those who listen to the page.
const tell = (part) => {
  const counted = part.querySelector("[data-count]");
  if (!counted) return;
  const before = Number(/^\((\d+)\) /.exec(document.title)?.[1] ?? 0);
  const now = Number(counted.dataset.count);
  document.title = (now ? `(${now}) ` : "") + document.title.replace(/^\(\d+\) /, "");
  if (now > before) document.getElementById("live-status").textContent = counted.dataset.says;
};

const refresh = async () => {
  if (fetching) return;
  fetching = true;
  try {
    for (const name of [...waiting]) {
      if (isBusy(name)) continue;
      waiting.delete(name);
      const part = parts.get(name);
      const answer = await fetch(part.dataset.source ?? `/today/${name}`, { redirect: "error" });
      const text = answer.ok ? await answer.text() : null;
      if (text !== null && !isBusy(name)) replace(name, part, text);
      else if (text !== null) waiting.add(name);
    }
  } catch {
    // The server is away; the stream connects again and then everything is fetched.
  } finally {
    fetching = false;
  }
};

const want = (names) => {
  for (const name of names) if (parts.has(name)) waiting.add(name);
  refresh();
};

const listen = () => {
  let isFirst = heard === 0;  // the page has just been made; what matters may have changed since
  source = new EventSource("/events");
  // Not "open", which comes before the server has looked: a change between a part that is fetched then and that look would be missed.
  source.addEventListener("listening", () => {
    hear();
    want(isFirst ? ["troubles", "lists", "everybody", "children", "requests", "pauses", "seats", "calls", "screens"] : parts.keys());
    isFirst = false;
  });
  source.addEventListener("changed", (event) => { hear(); want(event.data.split(" ")); });
  source.addEventListener("alive", hear);
  source.addEventListener("error", ask);
  source.addEventListener("signed-out", () => { stop(); location.reload(); });
};

const stop = () => { source?.close(); source = null; };

let hiding = 0;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (document.visibilityState === "hidden") hiding = setTimeout(() => { if (!document.documentElement.hasAttribute("data-stays")) stop(); }, HIDDEN_MS);
  else if (parts.size && source === null) listen();
  quietSince = Date.now();
});
addEventListener("pagehide", stop);
addEventListener("pageshow", (event) => { if (event.persisted && parts.size) listen(); });

const showSearches = (part) => {
  for (const input of part.querySelectorAll("[data-filter]")) {
    const rows = [...document.getElementById(input.dataset.filter).children];
    const search = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
    };
    input.closest("[hidden]")?.removeAttribute("hidden");
    input.addEventListener("input", search);
    search();
  }
};

showSearches(document);
if (parts.size) {
  if (document.readyState === "complete") listen();
  else addEventListener("load", () => { if (source === null) listen(); }, { once: true });
  setInterval(refresh, BUSY_MS);
  setInterval(() => { if (source && document.visibilityState === "visible" && (isAway || Date.now() - quietSince > SILENCE_MS)) ask(); }, 1000);
  banner?.querySelector("[data-retry]").addEventListener("click", ask);
}
