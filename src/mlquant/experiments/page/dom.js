// The page's data, and small functions that make elements. All text becomes text nodes: nothing here parses markup.

const page = JSON.parse(document.getElementById("data").textContent);

const bytes = (() => {
  const text = atob(document.getElementById("blob").textContent);
  const result = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) result[i] = text.charCodeAt(i);
  document.getElementById("blob").remove(); // megabytes of text that nobody needs any more
  return result.buffer;
})();

const arrays = new WeakMap();

// The array that a {at, type, shape} of the data names: Int16Array, or Float32Array of numbers or dB.
function array(place) {
  if (!place) return null;
  if (!arrays.has(place)) {
    const size = place.shape.reduce((a, b) => a * b, 1);
    const raw = new (place.type === "f4" ? Float32Array : Int16Array)(bytes, place.at, size);
    arrays.set(place, place.type === "dB" ? Float32Array.from(raw, (v) => (v === -32768 ? NaN : v * page.step_dB)) : raw);
  }
  return arrays.get(place);
}

// Row i of a two-dimensional array; null outside of it.
function row(place, i) {
  if (!place || i < 0 || i >= place.shape[0]) return null;
  return array(place).subarray(i * place.shape[1], (i + 1) * place.shape[1]);
}

// An element (or SVG element) with attributes, "on..." listeners, and children that are elements or text.
function el(name, attributes = {}, ...children) {
  const svg = ["svg", "g", "path", "line", "text", "circle", "rect"].includes(name);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

const byId = (id) => document.getElementById(id);

// The name of a track. It differs from those of the other tracks of the sample, and is the same in all samples.
const nameOf = (track) => `${track.label} ${track.tag}`;

// The outputs of all experiments in order, by which each has a colour of its own in all charts, legends and tables.
const PLACES = page.experiments.flatMap((e, experiment) => e.outputs.map((o) => `${experiment} ${o.index} ${o.tag}`));
const DASHES = [null, "8 3", "3 2", "8 3 2 3"];

// How an output, or a track of it, is drawn: its colour, and its dashes where there are more outputs than colours.
function styleOf({ experiment, index, tag }) {
  const place = PLACES.indexOf(`${experiment} ${index} ${tag}`);
  return { colour: colour(place), dash: DASHES[Math.floor(place / page.colours) % DASHES.length] };
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// A number with so many decimals; a dash where there is none.
function number(value, digits = 2) {
  return value === null || value === undefined || Number.isNaN(value) ? "–" : value.toFixed(digits);
}

// A button that shows whether it is pressed.
function toggle(text, pressed, onclick, attributes = {}) {
  return el("button", { type: "button", "aria-pressed": String(pressed), onclick, ...attributes }, text);
}

const press = (button, pressed) => button.setAttribute("aria-pressed", String(pressed));

// A labelled choice: options are [value, text] pairs.
function select(label, options, onchange, attributes = {}) {
  const box = el("select", { ...attributes, onchange: () => onchange(box.value) },
    options.map(([value, text]) => el("option", { value }, text)));
  return el("label", {}, `${label} `, box);
}

// Put a box that scrolls into one that says so, with a faded edge and in words, while there is more than it shows.
// `content` is what grows and shrinks in it.
function scrolling(box, content = box.firstElementChild) {
  const sign = el("p", { class: "sign", "aria-hidden": "true", hidden: true });
  const edge = el("div", { class: "edge" });
  const spot = document.createComment("");
  box.replaceWith(spot);
  edge.append(box);
  const look = () => {
    const wide = box.scrollWidth > box.clientWidth + 1, high = box.scrollHeight > box.clientHeight + 1;
    const words = wide ? "← scrolls sideways →" : high ? "↑ scrolls ↓" : "";
    if (sign.textContent !== words) sign.textContent = words;
    sign.hidden = !words;
    edge.classList.toggle("more-left", wide && box.scrollLeft > 1);
    edge.classList.toggle("more-right", wide && box.scrollLeft + box.clientWidth < box.scrollWidth - 1);
    edge.classList.toggle("more-below", high && box.scrollTop + box.clientHeight < box.scrollHeight - 1);
  };
  box.addEventListener("scroll", look, { passive: true });
  const observer = new ResizeObserver(look);
  for (const watched of [box, content]) if (watched) observer.observe(watched);
  const whole = el("div", { class: "scrolling" }, sign, edge);
  if (spot.parentNode) spot.replaceWith(whole);
  return whole;
}

// A table. Cells are text, elements, or {text, sort}, where `sort` is the value to sort by. Heads are text or
// {text, help}. A click on a head sorts by its column, a second click in the other direction; empty cells stay last.
function table(caption, heads, rows, sorted = null) {
  const body = el("tbody");
  const raw = (cell) => (cell && typeof cell === "object" && "sort" in cell ? cell.sort : cell);
  const content = (cell) => (cell && typeof cell === "object" && "text" in cell && !cell.nodeType ? cell.text : cell);
  const numeric = heads.map((_, c) => rows.some((r) => typeof raw(r[c]) === "number"));
  const fill = (list) => body.replaceChildren(...list.map((cells) => el("tr", {}, cells.map((cell, c) =>
    el(c ? "td" : "th", { scope: c ? null : "row", class: numeric[c] ? "number" : null }, content(cell) ?? "–")))));
  let order = sorted;
  const head = heads.map((h, c) => {
    const name = h.text ?? h;
    const button = el("button", { type: "button", title: h.help, onclick: () => {
      order = order === c + 1 ? -(c + 1) : c + 1;
      head.forEach((cell, i) => cell.setAttribute("aria-sort", i === c ? (order > 0 ? "ascending" : "descending") : "none"));
      const empty = (v) => v === null || v === undefined;
      fill([...rows].sort((a, b) => {
        const [x, y] = [raw(a[c]), raw(b[c])];
        if (empty(x) || empty(y)) return empty(x) - empty(y);
        return Math.sign(order) * (numeric[c] ? x - y : String(x).localeCompare(String(y), undefined, { numeric: true }));
      }));
    } }, name);
    return el("th", { scope: "col", "aria-sort": sorted === false ? null : "none", class: numeric[c] ? "number" : null }, sorted === false ? name : button);
  });
  fill(rows);
  return scrolling(el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", {}, el("caption", { class: "hidden" }, caption), el("thead", {}, el("tr", {}, head)), body)));
}
