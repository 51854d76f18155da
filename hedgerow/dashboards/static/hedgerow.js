"use strict";
// Makes the forms of a week into grids to drag on, keeps the counter's tiles fresh, and knows the browser's time zone. Without this file the forms do the same.

const SNAP = 15;
const DAY = 24 * 60;

const clock = (minutes) => {
  const shown = minutes === DAY ? DAY : minutes % DAY;
  return `${String(Math.floor(shown / 60)).padStart(2, "0")}:${String(shown % 60).padStart(2, "0")}`;
};
const minutesOf = (text) => {
  const match = /^(\d{1,2}):(\d{2})$/.exec(text.trim());
  return match ? Number(match[1]) * 60 + Number(match[2]) : null;
};
const element = (tag, className, attributes = {}) => {
  const made = document.createElement(tag);
  made.className = className;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
};

// A night's row runs from noon to noon and holds one stretch; a day's from midnight to midnight and holds several.
class Row {
  constructor(grid, line) {
    this.grid = grid;
    this.name = line.dataset.day;
    this.inputs = [...line.querySelectorAll("input")];
    this.spans = this.read();
    this.track = element("div", "track", { role: "group", "aria-label": this.name });
    const label = element("span", "label", { "aria-hidden": "true" });
    label.textContent = line.dataset.short;
    this.box = element("div", "weekrow");
    this.box.append(label, this.track);
    this.draw();
  }

  read() {
    const { start, isNight } = this.grid;
    const pairs = isNight
      ? [this.inputs.map((input) => input.value)]
      : this.inputs[0].value.split(",").map((part) => part.replace("–", "-").split("-"));
    const found = [];
    for (const [from, until] of pairs) {
      let [begins, ends] = [minutesOf(from || ""), minutesOf(until || "")];
      if (begins === null || ends === null) continue;
      if (begins < start) begins += DAY;
      while (ends <= begins) ends += DAY;
      found.push([begins, Math.min(ends, start + DAY)]);
    }
    return found;
  }

  set(spans) {
    const sorted = spans.filter(([begins, ends]) => ends > begins).sort((a, b) => a[0] - b[0]);
    const joined = [];
    for (const [begins, ends] of sorted) {
      const last = joined[joined.length - 1];
      if (last && begins <= last[1]) last[1] = Math.max(last[1], ends);
      else joined.push([begins, ends]);
    }
    this.spans = this.grid.isNight ? joined.slice(-1) : joined;
    if (this.grid.isNight) {
      const [span] = this.spans;
      if (span) span[1] = Math.min(span[1], span[0] + DAY - SNAP);  // a night that begins and ends at the same time says nothing
      this.inputs[0].value = span ? clock(span[0]) : "";
      this.inputs[1].value = span ? clock(span[1] % DAY) : "";
    } else {
      this.inputs[0].value = this.spans.map(([begins, ends]) => `${clock(begins)}-${clock(ends)}`).join(", ");
    }
    this.draw();
  }

  draw() {
    const { start, words } = this.grid;
    const place = (minutes) => `${((minutes - start) / DAY) * 100}%`;
    this.track.replaceChildren();
    this.spans.forEach(([begins, ends], index) => {
      const bar = element("div", "span");
      bar.style.left = place(begins);
      bar.style.width = `${((ends - begins) / DAY) * 100}%`;
      bar.dataset.index = index;
      const text = element("span", "times", { "aria-hidden": "true" });
      text.textContent = `${clock(begins)}–${clock(ends)}`;
      bar.append(text);
      for (const [end, label, value] of [[0, words.from, begins], [1, words.until, ends]]) {
        const handle = element("div", `handle ${end ? "end" : "begin"}`, {
          role: "slider", tabindex: "0", "aria-label": `${this.name}, ${label}`, "aria-valuemin": start, "aria-valuemax": start + DAY,
          "aria-valuenow": value, "aria-valuetext": clock(value),
        });
        handle.dataset.end = end;
        handle.addEventListener("keydown", (event) => this.key(event, index, end));
        bar.append(handle);
      }
      this.track.append(bar);
    });
    if (!this.grid.isNight || !this.spans.length) {
      const add = element("button", "add", { type: "button", "aria-label": `${this.name}: ${words.add}` });
      add.textContent = "+";
      add.addEventListener("click", () => this.add());
      this.track.append(add);
    }
  }

  add() {
    const wanted = this.grid.isNight ? [21 * 60, 31 * 60] : [15 * 60, 16 * 60];
    const free = this.spans.every(([begins, ends]) => wanted[1] < begins || wanted[0] > ends);
    const last = this.spans[this.spans.length - 1];
    const begins = free ? wanted[0] : Math.min(last[1] + 60, this.grid.start + DAY - 60);
    this.set([...this.spans, free ? wanted : [begins, begins + 60]]);
    const handles = this.track.querySelectorAll(".handle.begin");
    handles[this.spans.findIndex(([each]) => each === begins)]?.focus();
  }

  key(event, index, end) {
    const steps = { ArrowLeft: -SNAP, ArrowDown: -SNAP, ArrowRight: SNAP, ArrowUp: SNAP, PageDown: -60, PageUp: 60 };
    const { start } = this.grid;
    const spans = this.spans.map((span) => [...span]);
    const span = spans[index];
    if (event.key === "Delete" || event.key === "Backspace") spans.splice(index, 1);
    else if (event.key in steps || event.key === "Home" || event.key === "End") {
      const limits = end ? [span[0] + SNAP, start + DAY] : [start, span[1] - SNAP];
      const wanted = event.key === "Home" ? limits[0] : event.key === "End" ? limits[1] : span[end] + steps[event.key];
      span[end] = Math.min(limits[1], Math.max(limits[0], wanted));
    } else return;
    event.preventDefault();
    this.set(spans);
    const bar = this.track.children[Math.min(index, this.spans.length - 1)];
    (bar?.querySelector(end ? ".end" : ".begin") || this.track.querySelector(".add"))?.focus();
  }
}

class Grid {
  constructor(form) {
    this.isNight = form.dataset.week === "nights";
    this.start = this.isNight ? DAY / 2 : 0;
    this.words = form.dataset;
    const table = form.querySelector("table.week");
    this.box = element("div", "weekgrid");
    const axis = element("div", "weekaxis", { "aria-hidden": "true" });
    for (let hour = 0; hour <= 24; hour += 4) {
      const mark = element("span", "");
      mark.textContent = String((this.start / 60 + hour) % 24).padStart(2, "0");
      axis.append(mark);
    }
    this.rows = [...table.querySelectorAll("tr[data-day]")].map((line) => new Row(this, line));
    const help = element("p", "quiet");
    help.textContent = form.dataset.help;
    const tools = element("p", "tools");
    for (const [text, act] of [
      [form.dataset.copy, () => this.rows.slice(1).forEach((row) => row.set(this.rows[0].spans.map((span) => [...span])))],
      [form.dataset.clear, () => this.rows.forEach((row) => row.set([]))],
    ]) {
      const button = element("button", "small", { type: "button" });
      button.textContent = text;
      button.addEventListener("click", act);
      tools.append(button);
    }
    this.box.append(help, axis, ...this.rows.map((row) => row.box), tools);
    const exact = element("details", "exact");
    const summary = element("summary", "");
    summary.textContent = form.dataset.exact;
    table.before(this.box, exact);
    exact.append(summary, table);
    table.addEventListener("change", () => this.rows.forEach((row) => { row.spans = row.read(); row.draw(); }));
    this.box.addEventListener("pointerdown", (event) => this.press(event));
  }

  minutesAt(row, x) {
    const box = row.track.getBoundingClientRect();
    const part = Math.min(1, Math.max(0, (x - box.left) / box.width));
    return this.start + Math.round((part * DAY) / SNAP) * SNAP;
  }

  press(event) {
    const row = this.rows.find((each) => each.track.contains(event.target));
    if (!row || event.button !== 0 || event.target.closest(".add")) return;
    const bar = event.target.closest(".span");
    const handle = event.target.closest(".handle");
    const first = this.minutesAt(row, event.clientX);
    const before = new Map(this.rows.map((each) => [each, each.spans.map((span) => [...span])]));
    if (!handle) event.preventDefault();
    const move = (at) => {
      const now = this.minutesAt(row, at.clientX);
      if (bar) {
        const spans = before.get(row).map((span) => [...span]);
        const span = spans[Number(bar.dataset.index)];
        const by = now - first;
        if (!handle) [0, 1].forEach((end) => { span[end] = Math.min(this.start + DAY, Math.max(this.start, span[end] + by)); });
        else if (handle.dataset.end === "0") span[0] = Math.max(this.start, Math.min(now, span[1] - SNAP));
        else span[1] = Math.min(this.start + DAY, Math.max(now, span[0] + SNAP));
        row.set(spans);
        return;
      }
      const reached = this.rowAt(at.clientY) ?? row;
      const [top, bottom] = [this.rows.indexOf(row), this.rows.indexOf(reached)].sort((a, b) => a - b);
      this.rows.forEach((each, index) => {
        const spans = before.get(each);
        if (index < top || index > bottom || now === first) each.set(spans.map((span) => [...span]));
        else each.set([...(this.isNight ? [] : spans.map((span) => [...span])), [Math.min(first, now), Math.max(first, now)]]);
      });
    };
    const stop = () => {
      window.removeEventListener("pointermove", move);
      window.removeEventListener("pointerup", stop);
      window.removeEventListener("pointercancel", stop);
    };
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", stop);
    window.addEventListener("pointercancel", stop);
  }

  rowAt(y) {
    return this.rows.find((row) => {
      const box = row.track.getBoundingClientRect();
      return y >= box.top && y <= box.bottom;
    });
  }
}

for (const form of document.querySelectorAll("form[data-week]")) {
  if (!form.querySelector("input:disabled")) new Grid(form);
}

// A machine that was never told where it is says UTC; the browser of whoever sets it up knows better.
for (const input of document.querySelectorAll("[data-own-zone]")) {
  const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
  if ([...input.form.querySelectorAll("datalist option")].some((option) => option.value === timeZone)) input.value = timeZone;
}

// Whoever is choosing minutes at a seat is not disturbed.
for (const list of document.querySelectorAll("[data-refresh]")) {
  let touched = 0;
  list.addEventListener("input", () => { touched = Date.now(); });
  const wait = Number(list.dataset.refresh) * 1000;
  setInterval(() => {
    if (document.visibilityState === "visible" && Date.now() - touched > wait) location.reload();
  }, wait);
}
