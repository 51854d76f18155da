"use strict";
// Makes the forms of a week into grids to drag on, and knows the browser's time zone. Without this file the forms do the same.

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
      const isChosen = this.grid.isChosen(this, index);
      // There is no room inside a short one for its times. Beside it there is, where the day has no other.
      const isShort = this.spans.length === 1 && ends - begins < 7 * 60;
      const isLate = isShort && ends - start > DAY * 0.6;
      const bar = element("div", ["span", isChosen && "chosen", isShort && "short", isLate && "late"].filter(Boolean).join(" "));
      bar.style.setProperty("--before", ((begins - start) / DAY) * 100);
      bar.style.setProperty("--after", ((start + DAY - ends) / DAY) * 100);
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
    this.grid.choose(null);
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
    this.grid.choose(null);
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
    this.chosen = null;
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
      [form.dataset.copy, () => this.choose(null) || this.rows.slice(1).forEach((row) => row.set(this.rows[0].spans.map((span) => [...span])))],
      [form.dataset.clear, () => this.choose(null) || this.rows.forEach((row) => row.set([]))],
    ]) {
      const button = element("button", "small", { type: "button" });
      button.textContent = text;
      button.addEventListener("click", act);
      tools.append(button);
    }
    this.box.append(axis, ...this.rows.map((row) => row.box), tools, help);
    const exact = element("details", "exact");
    const summary = element("summary", "");
    summary.textContent = form.dataset.exact;
    table.before(this.box, exact);
    exact.append(summary, table);
    exact.open = Boolean(table.querySelector("[aria-invalid]"));
    table.addEventListener("change", () => this.rows.forEach((row) => { row.spans = row.read(); row.draw(); }));
    this.box.addEventListener("pointerdown", (event) => this.press(event));
  }

  minutesAt(row, x) {
    const box = row.track.getBoundingClientRect();
    const part = Math.min(1, Math.max(0, (x - box.left) / box.width));
    return this.start + Math.round((part * DAY) / SNAP) * SNAP;
  }

  isChosen(row, index) {
    return this.chosen !== null && this.chosen.row === row && this.chosen.index === index;
  }

  // One time of the week is chosen by a tap or a click. It then has large ends to drag, and its tools stand beneath its row.
  choose(row, index = 0) {
    const before = this.chosen;
    this.chosen = row ? { row, index } : null;
    this.tools?.remove();
    this.tools = null;
    if (before) before.row.draw();
    if (!row) return;
    row.draw();
    this.tools = element("div", "timetools", { role: "group", "aria-label": row.name });
    const fields = [[0, this.words.from], [1, this.words.until]].map(([end, label]) => {
      const field = element("input", "", { type: "time", "aria-label": `${row.name}, ${label}` });
      field.addEventListener("change", () => this.type(end, field.value));
      return field;
    });
    const remove = element("button", "small no", { type: "button" });
    remove.textContent = this.words.remove;
    remove.addEventListener("click", () => {
      const spans = row.spans.filter((_, place) => place !== this.chosen.index);
      this.choose(null);
      row.set(spans);
      row.track.querySelector(".handle, .add")?.focus({ preventScroll: true });
    });
    this.tools.append(...fields, remove);
    this.tools.fields = fields;
    row.box.after(this.tools);
    this.showTimes();
  }

  showTimes() {
    const span = this.chosen?.row.spans[this.chosen.index];
    if (span) this.tools.fields.forEach((field, end) => { field.value = clock(span[end] % DAY); });
  }

  type(end, text) {
    const { row, index } = this.chosen;
    const spans = row.spans.map((span) => [...span]);
    let minutes = minutesOf(text);
    if (minutes === null) return;
    if (minutes < this.start || (end && minutes <= this.start)) minutes += DAY;
    spans[index][end] = minutes;
    if (spans[index][1] > spans[index][0]) this.put(row, spans, index);
    else this.showTimes();
  }

  // Sets the times of the chosen row, which may join some of them, and keeps the same time chosen.
  put(row, spans, index) {
    const [begins, ends] = spans[index];
    const middle = (begins + ends) / 2;
    row.set(spans);
    const place = row.spans.findIndex((span) => span[0] <= middle && middle <= span[1]);
    if (place < 0) this.choose(null);
    else if (!this.isChosen(row, place)) this.choose(row, place);
    else this.showTimes();
  }

  // A finger scrolls the page, and taps to add or choose a time; it moves and resizes only what is chosen. A mouse draws.
  press(event) {
    const row = this.rows.find((each) => each.track.contains(event.target));
    if (!row || event.button !== 0 || event.target.closest(".add")) return;
    const bar = event.target.closest(".span");
    const handle = event.target.closest(".handle");
    const index = bar ? Number(bar.dataset.index) : -1;
    const canDrag = event.pointerType !== "touch" || (bar !== null && this.isChosen(row, index));
    const first = this.minutesAt(row, event.clientX);
    const [x, y] = [event.clientX, event.clientY];
    const before = new Map(this.rows.map((each) => [each, each.spans.map((span) => [...span])]));
    let isTap = true;
    if (!handle) event.preventDefault();
    if (event.pointerType === "touch") row.track.setPointerCapture(event.pointerId);  // the bar beneath the finger is drawn anew
    const drag = (at) => {
      let now = this.minutesAt(row, at.clientX);
      if (bar) {
        const spans = before.get(row).map((span) => [...span]);
        const span = spans[index];
        // A finger holds an end beside it, where it is not hidden.
        const held = handle && event.pointerType === "touch" ? span[Number(handle.dataset.end)] : null;
        if (held !== null) now = held + Math.round((((at.clientX - x) / row.track.clientWidth) * DAY) / SNAP) * SNAP;
        if (!handle) {
          const by = Math.min(this.start + DAY - span[1], Math.max(this.start - span[0], now - first));
          span[0] += by;
          span[1] += by;
        } else if (handle.dataset.end === "0") span[0] = Math.max(this.start, Math.min(now, span[1] - SNAP));
        else span[1] = Math.min(this.start + DAY, Math.max(now, span[0] + SNAP));
        if (this.chosen?.row === row) this.put(row, spans, index);
        else row.set(spans);
        return;
      }
      this.choose(null);
      const reached = this.rowAt(at.clientY) ?? row;
      const [top, bottom] = [this.rows.indexOf(row), this.rows.indexOf(reached)].sort((a, b) => a - b);
      this.rows.forEach((each, place) => {
        const spans = before.get(each);
        if (place < top || place > bottom || now === first) each.set(spans.map((span) => [...span]));
        else each.set([...(this.isNight ? [] : spans.map((span) => [...span])), [Math.min(first, now), Math.max(first, now)]]);
      });
    };
    const move = (at) => {
      if (Math.hypot(at.clientX - x, at.clientY - y) > 8) isTap = false;
      if (canDrag && !isTap) drag(at);
    };
    const stop = (at) => {
      for (const [type, listener] of [["pointermove", move], ["pointerup", stop], ["pointercancel", stop]]) window.removeEventListener(type, listener);
      if (at.type === "pointercancel") this.restore(before);
      else if (isTap) this.tap(row, index, first, event.pointerType);
    };
    for (const [type, listener] of [["pointermove", move], ["pointerup", stop], ["pointercancel", stop]]) window.addEventListener(type, listener);
  }

  restore(before) {
    before.forEach((spans, row) => { if (String(spans) !== String(row.spans)) row.set(spans); });
    this.showTimes();
  }

  tap(row, index, minutes, pointer) {
    if (index >= 0) this.choose(row, index);
    else if (pointer === "touch" && !(this.isNight && row.spans.length)) {
      const begins = Math.min(Math.floor(minutes / 30) * 30, this.start + DAY - 60);
      const span = this.isNight ? [21 * 60, 31 * 60] : [begins, begins + 60];
      this.choose(row, row.spans.length);
      this.put(row, [...row.spans, span], row.spans.length);
    } else this.choose(null);
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
