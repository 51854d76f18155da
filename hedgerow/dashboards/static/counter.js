"use strict";
// Says what an opening costs before it is tapped, and sounds when the time of a guest is over.
// Without this file the page says the cost of what was chosen last, the prices of all lengths are below the seats, and nothing sounds.

const opening = document.getElementById("opening");
const cost = document.getElementById("cost");
const costs = JSON.parse(cost?.dataset.costs ?? "{}");

const tellCost = () => {
  const chosen = new FormData(opening);
  const [price, amount] = costs[chosen.get("band")]?.[chosen.get("minutes")] ?? [0, ""];
  const pays = price ? chosen.get("pays") : "free";
  const { balance, money, name } = opening.querySelector("select[name=member]")?.selectedOptions[0]?.dataset ?? {};
  const isShort = pays === "balance" && Number(balance) < price;
  const text = cost.dataset[isShort ? "short" : pays === "balance" && !balance ? "unknown" : pays] ?? "";
  cost.classList.toggle("short", isShort);
  cost.textContent = text.replace(/\{(\w+)\}/g, (_, word) => ({ amount, name, balance: money })[word]);
};

if (cost) {
  opening.addEventListener("change", tellCost);
  tellCost();
}

// Sounds and vibrates when the time of a guest is over, or a seat calls. The page asks once whether it shall, on each device.
const CHOICE = "counter-sound";
const TOLD = "counter-told";
const OVER_HZ = [880, 660, 880, 660];
const CALL_HZ = [660, 880];
const WAKE_MS = 500;
const asks = document.getElementById("sound-asks");
const shown = document.getElementById("sound");
const toggle = shown?.querySelector("[role=switch]");
const waits = document.getElementById("sound-waits");
let context = null;

const isOn = () => localStorage.getItem(CHOICE) === "on";

// Browsers let a page sound only after somebody has touched it.
const wake = async () => {
  context ??= new AudioContext();
  await Promise.race([context.resume(), new Promise((go) => setTimeout(go, WAKE_MS))]);
  waits.hidden = !isOn() || context.state === "running";
  return context.state === "running";
};

const ring = async (tones) => {
  navigator.vibrate?.([300, 150, 300]);
  if (!(await wake())) return;
  let at = context.currentTime + 0.02;
  for (const frequency of tones) {
    const tone = new OscillatorNode(context, { frequency });
    const volume = new GainNode(context, { gain: 0 });
    volume.gain.setValueAtTime(0, at);
    volume.gain.linearRampToValueAtTime(0.4, at + 0.02);
    volume.gain.linearRampToValueAtTime(0, at + 0.3);
    tone.connect(volume).connect(context.destination);
    tone.start(at);
    tone.stop(at + 0.3);
    at += 0.3;
  }
};

const show = () => {
  const isAsked = localStorage.getItem(CHOICE) !== null;
  asks.hidden = isAsked;
  shown.hidden = !isAsked;
  toggle.setAttribute("aria-checked", isOn());
  document.documentElement.toggleAttribute("data-stays", isOn());  // live.js listens on where nobody sees the page
};

const choose = (choice) => {
  localStorage.setItem(CHOICE, choice);
  show();
  if (choice === "on") ring(CALL_HZ);
  else waits.hidden = true;
};

const events = () => [
  ...[...document.querySelectorAll("[data-over]")].map(({ dataset }) => `over ${dataset.seat} ${dataset.over}`),
  ...[...document.querySelectorAll("[data-live=calls] button[name=seat]")].map((each) => `call ${each.value}`),
];

// What was told in this window is kept, so that neither a tap that loads the page again repeats it nor loses it.
const look = () => {
  const now = events();
  const told = JSON.parse(sessionStorage.getItem(TOLD)) ?? now;
  sessionStorage.setItem(TOLD, JSON.stringify(now));
  const fresh = now.filter((each) => !told.includes(each));
  if (fresh.length && isOn()) ring(fresh.some((each) => each.startsWith("over")) ? OVER_HZ : CALL_HZ);
};

if (asks) {
  show();
  for (const button of asks.querySelectorAll("button")) button.addEventListener("click", () => choose(button.value));
  toggle.addEventListener("click", () => choose(isOn() ? "off" : "on"));
  if (isOn()) wake();
  addEventListener("pointerdown", () => { if (isOn()) wake(); });
  const observer = new MutationObserver(look);
  for (const part of document.querySelectorAll("[data-live=seats], [data-live=calls]")) observer.observe(part, { childList: true });
  look();
}
