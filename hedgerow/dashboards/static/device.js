"use strict";
// Shows answers to requests, new permissions and closures on a device's own page within two seconds. Without this file, reload the page.

const LOOK_MS = 1500;
const page = document.querySelector("[data-state]");

const look = async () => {
  if (document.visibilityState !== "visible") return;
  const answer = await fetch("/device/state", { headers: { accept: "application/json" } });
  if (!answer.ok) return;
  const { state } = await answer.json();
  if (state === page.dataset.state) return;
  const fresh = new DOMParser().parseFromString(await (await fetch("/device")).text(), "text/html");
  page.dataset.state = state;
  for (const part of document.querySelectorAll("[data-fresh]")) {
    const next = fresh.querySelector(`[data-fresh="${part.dataset.fresh}"]`);
    if (next && next.innerHTML !== part.innerHTML) part.replaceChildren(...next.childNodes);
  }
};

if (page) setInterval(() => look().catch(() => {}), LOOK_MS);
