// One chart for all curves of the page: an SVG in the colours of the page.

// About `count` ticks, at 1, 2 or 5 times a power of ten; on a logarithmic axis at powers of ten or two.
function ticks(low, high, count, log) {
  if (log) {
    const base = log === 2 ? 2 : 10;
    const first = Math.ceil(Math.log(low) / Math.log(base) - 1e-9);
    const last = Math.floor(Math.log(high) / Math.log(base) + 1e-9);
    const step = Math.max(1, Math.ceil((last - first + 1) / count));
    const found = [];
    for (let i = first; i <= last; i += step) found.push(base ** i);
    if (found.length >= 2 || base === 2) return found;
  }
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((m) => m * power >= rough) ?? 10);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(i * step);
  return found;
}

const tick = (value) => (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5) ? value.toExponential(0) : String(+value.toPrecision(6)));

// A point of a series: a circle, or a square.
function dot(x, y, series) {
  const r = series.wide ? 3.5 : 2.2, kind = series.hollow ? "hollow" : null;
  return series.square ? el("rect", { x: x - r, y: y - r, width: 2 * r, height: 2 * r, class: `dot ${kind ?? ""}` }) : el("circle", { cx: x, cy: y, r, class: kind });
}

// Draw series into a box, in place of what was there.
//   series: [{name, x, y, colour, mark: "line" (or "dots", "both", "stems", "level"), dash, wide, square, labels}]; a level is
//     a horizontal line at y[0]; labels are texts beside the points. Gaps are left where y is not finite.
//   axes: {x, y: {label, range, log: 10 or 2, ticks}, height, legend: false where the page has its own}
// box.series keeps the series, so that a test can read the numbers.
function chart(box, series, axes) {
  box.series = series;
  const width = Math.max(box.clientWidth, 240), height = axes.height ?? 240;
  const right = 12, top = 8, bottom = 36;
  let left = 0; // set below, from the width of the labels of y
  const scales = {};
  const place = (side, v) => {
    const { low, high, log } = scales[side];
    const at = log ? Math.log(v / low) / Math.log(high / low) : (v - low) / (high - low);
    return side === "x" ? left + (width - right - left) * at : height - bottom - (height - bottom - top) * at;
  };
  for (const side of ["x", "y"]) {
    const axis = axes[side], log = axis.log;
    let [low, high] = axis.range ?? [Infinity, -Infinity];
    if (!axis.range) {
      for (const s of series) for (const v of s.mark === "level" && side === "x" ? [] : s[side]) {
        if (Number.isFinite(v) && (!log || v > 0)) { low = Math.min(low, v); high = Math.max(high, v); }
      }
      if (low > high) [low, high] = log ? [1, 10] : [0, 1];
      if (low === high) [low, high] = log ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
      const pad = side === "y" ? 0.06 : 0.02;
      [low, high] = log ? [low / (high / low) ** pad, high * (high / low) ** pad] : [low - pad * (high - low), high + pad * (high - low)];
    }
    scales[side] = { low, high, log };
  }
  const levels = ticks(scales.y.low, scales.y.high, Math.max(3, Math.floor(height / 45)), axes.y.log);
  left = 24 + 7 * Math.max(3, ...levels.map((v) => tick(v).length));
  const X = (v) => place("x", v).toFixed(1), Y = (v) => place("y", v).toFixed(1);
  const svg = el("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": axes.title ?? `${axes.y.label} against ${axes.x.label}` });
  const some = Math.max(2, Math.floor(width / 90));
  for (const v of axes.x.ticks ?? ticks(scales.x.low, scales.x.high, some, axes.x.log)) {
    svg.append(el("line", { class: "grid", x1: X(v), x2: X(v), y1: top, y2: height - bottom }),
      el("text", { x: X(v), y: height - bottom + 14, "text-anchor": "middle" }, tick(v)));
  }
  for (const v of levels) {
    svg.append(el("line", { class: "grid", y1: Y(v), y2: Y(v), x1: left, x2: width - right }),
      el("text", { x: left - 5, y: +Y(v) + 4, "text-anchor": "end" }, tick(v)));
  }
  svg.append(el("text", { class: "axis", x: (left + width - right) / 2, y: height - 5, "text-anchor": "middle" }, axes.x.label),
    el("text", { class: "axis", transform: `translate(11 ${(top + height - bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, axes.y.label));
  const inside = el("svg", { x: left, y: top - 3, width: width - left - right, height: height - bottom - top + 6,
    viewBox: `${left} ${top - 3} ${width - left - right} ${height - bottom - top + 6}` });
  svg.append(inside);
  const written = []; // the places of points and labels, which no other label may cover
  for (const s of series.filter(({ mark }) => mark === "dots" || mark === "both")) {
    for (let i = 0; i < s.x.length; i++) if (Number.isFinite(s.y[i])) written.push({ from: +X(s.x[i]) - 4, wide: 8, y: +Y(s.y[i]) + 3 });
  }
  let levelled = 0;
  for (const s of series) {
    const mark = s.mark ?? "line", style = `color: ${s.colour ?? "currentColor"}`;
    const g = el("g", { style, class: s.wide ? "wide" : null, "data-name": s.name });
    const good = (i) => Number.isFinite(s.y[i]) && (!axes.y.log || s.y[i] > 0);
    let path = "";
    if (mark === "level") path = `M${left},${Y(s.y[0])}H${width - right}`;
    else if (mark === "stems") {
      const floor = height - bottom + 3;
      for (let i = 0; i < s.x.length; i++) if (good(i)) path += `M${X(s.x[i])},${floor}V${Y(s.y[i])}`;
    } else if (mark !== "dots") {
      for (let i = 0, on = false; i < s.x.length; on = good(i++)) if (good(i)) path += `${on ? "L" : "M"}${X(s.x[i])},${Y(s.y[i])}`;
    }
    if (path) g.append(el("path", { d: path, "stroke-dasharray": s.dash }));
    if (mark === "dots" || mark === "both") {
      for (let i = 0; i < s.x.length; i++) if (good(i)) g.append(dot(X(s.x[i]), Y(s.y[i]), s));
    }
    inside.append(g);
    (s.labels ?? []).forEach((text, i) => {
      if (!good(i)) return;
      // Labels of levels stand at the right and the left end in turn, that of a point begins beside it.
      const wide = 6.2 * text.length + 4, point = +X(s.x[i]), edge = width - right - 2;
      const from = mark === "level" && levelled++ % 2 ? left + 4 : mark === "level" || point + 6 + wide > edge ? edge - wide : point + 6;
      const free = (y) => !written.some((other) => other.from < from + wide && from < other.from + other.wide && Math.abs(other.y - y) < 11);
      const wanted = +Y(s.y[i]) + (s.below ? 13 : -4);
      // The free place that is nearest to the point, above it or below; where there is none near, the label is left out.
      const y = Array.from({ length: 17 }, (_, k) => wanted + (k % 2 ? -1 : 1) * 3 * Math.ceil(k / 2)).find((at) => at > 8 && at < height - bottom - 2 && free(at));
      if (y === undefined) return;
      written.push({ from, wide, y });
      svg.append(el("rect", { class: "behind", x: from - 2, y: y - 9, width: wide, height: 12 }), el("text", { class: "label", x: from, y }, text));
    });
  }
  const legend = axes.legend === false ? [] : [el("div", { class: "legend" }, series.filter((s) => s.name).map((s) =>
    el("span", {}, el("i", { style: `color: ${s.colour ?? "currentColor"}`, class: s.hollow ? "hollow" : s.mark === "dots" ? "dot" : s.dash ? "dashed" : null }), s.name)))];
  box.replaceChildren(svg, ...legend);
}

// Draw when the box has a width, and again whenever the width changes.
function redrawn(box, draw) {
  let width = 0;
  new ResizeObserver(() => {
    if (box.clientWidth === width) return;
    width = box.clientWidth;
    draw();
  }).observe(box);
  return box;
}

// Colours of curves, which differ on a light and on a dark page.
const colour = (i) => `var(--c${i % page.colours})`;
