"use strict";
// Says what an opening costs before it is tapped.
// Without this file the page says it for what was chosen last, and the prices of all lengths are below the seats.

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
