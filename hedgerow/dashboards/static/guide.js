"use strict";
// Fills in what the browser knows: the setup code of the address, the time zone and the country. Without this file
// the forms do the same.

// The QR code's address carries the code behind "#", which no server sees. It leaves the address bar and the history at once. The setup
// code has two groups, and that of an invitation four.
const field = document.querySelector("[data-from-address]");
const carry = () => {
  const carried = /^#([a-z0-9]{4,5}(?:-?[a-z0-9]{4,5})+)$/i.exec(location.hash);
  if (!carried) return false;
  history.replaceState(null, "", location.pathname + location.search);
  if (field) {
    field.value = carried[1].toUpperCase();
    field.form.querySelector("[name=name], [name=password]").focus();
  }
  return true;
};
if (!carry() && field && !field.value) field.focus();
addEventListener("hashchange", carry); // that address, opened where this page is already

for (const button of document.querySelectorAll("[data-shows]")) {
  const secret = button.closest("form").querySelector(`[name=${button.dataset.shows}]`);
  const [show, hide] = [button.textContent, button.dataset.hide];
  button.hidden = false;
  button.addEventListener("click", () => {
    const isHidden = secret.type === "password";
    secret.type = isHidden ? "text" : "password";
    button.textContent = isHidden ? hide : show;
    secret.focus();
  });
}

// The browser's time zone says where home is, for most.
for (const zone of document.querySelectorAll("[data-browser-zone]")) zone.value = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "";

// A machine that was never told where it is says UTC; the browser of whoever sets it up knows better.
for (const zones of document.querySelectorAll("select[name=zone]")) {
  const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
  if ("ownZone" in zones.dataset && timeZone) {
    // Some browsers use names of before, such as Asia/Calcutta, which are not in the list.
    if (![...zones.options].some((option) => option.value === timeZone)) zones.add(new Option(timeZone.replaceAll("_", " "), timeZone));
    zones.value = timeZone;
  }
  const country = zones.form.querySelector("[name=country]");
  const here = zones.selectedOptions[0]?.dataset.country || navigator.language.split("-")[1];
  if (country && !country.value && [...country.options].some((option) => option.value === here)) country.value = here;
  // A country with few zones chooses its first, of the mainland if it lies in Europe.
  country?.addEventListener("change", () => {
    if (zones.selectedOptions[0]?.dataset.country === country.value) return;
    const there = [...zones.options].filter((option) => option.dataset.country === country.value);
    const mainland = there.filter((option) => option.value.startsWith("Europe/"));
    const few = mainland.length ? mainland : there;
    if (few.length && few.length <= 2) zones.value = few[0].value;
  });
}

// "Next" on the keyboard of a phone, which is Enter, goes through the fields. In an empty row of the people, it sends the form.
const typed = [...document.querySelectorAll("main form.column input:not([type=checkbox], [type=radio], [type=hidden])")];
for (const [place, field] of typed.entries()) {
  if (field.enterKeyHint !== "next") continue;
  field.addEventListener("keydown", (event) => {
    const next = typed.slice(place + 1).find((each) => each.form === field.form && each.offsetParent);
    const row = field.closest(".pair") ? [...field.closest(".pair").querySelectorAll("input:not([type=checkbox], [type=hidden])")] : [field];
    if (event.key !== "Enter" || event.isComposing || !next || row.every((each) => !each.value)) return;
    event.preventDefault();
    next.focus();
  });
}

// The clipboard of scripts needs a secure page, which a first visit is not: what is selected can be copied on any.
for (const button of document.querySelectorAll("[data-copies]")) {
  const field = document.getElementById(button.dataset.copies);
  button.hidden = false;
  button.addEventListener("click", () => {
    field.select();
    if (document.execCommand("copy")) button.textContent = button.dataset.copied;
  });
}

for (const button of document.querySelectorAll("[data-prints]")) {
  button.hidden = false;
  button.addEventListener("click", () => print());
}

// Blocked sites may show a page that says why, if devices reach its ports: this browser tries. Something must answer by HTTP; by HTTPS
// a refusal does too, but it must come at once, or each blocked site would let its visitors wait.
for (const field of document.querySelectorAll("[data-reaches]")) {
  const reach = (scheme) => fetch(`${scheme}://${field.dataset.reaches}/`, { mode: "no-cors", credentials: "omit", signal: AbortSignal.timeout(3000) });
  const refused = (error) => { if (error.name === "TimeoutError") throw error; };
  Promise.all([reach("http"), reach("https").catch(refused)]).then(() => { field.value = "yes"; }, () => {});
}

// Devices join the list by themselves, as soon as they have used Hedgerow. What is chosen stays.
const LOOK_MS = 2000;
const list = document.querySelector("[data-joins]");
const look = async () => {
  if (document.visibilityState !== "visible") return;
  const fresh = new DOMParser().parseFromString(await (await fetch(location.pathname)).text(), "text/html").querySelector("[data-joins]");
  const form = list.querySelector("form");
  if (!form && fresh?.querySelector("form")) list.replaceChildren(...fresh.childNodes);
  if (!form || !fresh) return;
  const idOf = (device) => device.querySelector("[name^=device-]").value;
  const known = new Set([...form.querySelectorAll("fieldset")].map(idOf));
  for (const device of [...fresh.querySelectorAll("fieldset")].filter((each) => !known.has(idOf(each)))) {
    const number = form.querySelectorAll("fieldset").length;
    if (number >= Number(list.dataset.joins)) break;
    for (const field of device.querySelectorAll("[name]")) field.name = field.name.replace(/\d+$/, number);
    form.querySelector("fieldset:last-of-type").after(device);
  }
};
if (list) setInterval(() => look().catch(() => {}), LOOK_MS);
