"use strict";
// Shows answers to requests, new permissions and closures on a device's own page within two seconds, and in the background, while one is
// waited for, within some more. Without this file, reload the page.

const LOOK_MS = 1500;
const HIDDEN_LOOK_MS = 5000;
const GIVE_UP_MS = 10000;
const page = document.querySelector("[data-state]");

let looked = 0;
const look = async () => {
  if (document.visibilityState !== "visible") {
    if (!document.querySelector("[data-waits]") || performance.now() - looked < HIDDEN_LOOK_MS) return;
  }
  looked = performance.now();
  const signal = AbortSignal.timeout(GIVE_UP_MS);  // one that is never answered delays those after it
  const answer = await fetch("/device/state", { headers: { accept: "application/json" }, cache: "no-store", signal });
  if (!answer.ok) return;
  const { state } = await answer.json();
  if (state === page.dataset.state) return;
  const fresh = new DOMParser().parseFromString(await (await fetch("/device", { cache: "no-store", signal })).text(), "text/html");
  page.dataset.state = state;
  for (const part of document.querySelectorAll("[data-fresh]")) {
    const next = fresh.querySelector(`[data-fresh="${part.dataset.fresh}"]`);
    if (next?.dataset.session !== part.dataset.session) return location.reload();  // another session: all of the page is about it
    if (next && next.innerHTML !== part.innerHTML) part.replaceChildren(...next.childNodes);
  }
};

// The time that is left at a seat, second by second.
let started = performance.now();
let clock = null;
const tick = () => {
  const shown = document.querySelector("[data-left]");
  if (shown !== clock) [clock, started] = [shown, performance.now()];
  if (!clock) return;
  const left = Math.max(0, Math.round(clock.dataset.left - (performance.now() - started) / 1000));
  clock.textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
};

setInterval(tick, 1000);
if (page) setInterval(() => look().catch(() => {}), LOOK_MS);
