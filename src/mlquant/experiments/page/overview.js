// What stands above the player: the outputs in plain words, with their bits and PESQ, and a chart of these.

const sameOutput = (a, b) => a.index === b.index && a.tag === b.tag;
const meanOf = (experiment, output) => experiment.means.find((row) => row.group === "all" && sameOutput(row, output));

// What a track is: {short, what, mean and own (PESQ over all samples, and of this sample), rate, by (what its maker says)}.
function wordsOf(track, sample = audio.sample) {
  if (track.kind === "source") return { short: "source", what: "source speech, as it was recorded" };
  const experiment = page.experiments[track.experiment];
  const i = experiment.outputs.findIndex((output) => sameOutput(output, track)), output = experiment.outputs[i];
  if (!output) return { short: track.tag, what: track.tag };
  const row = meanOf(experiment, output) ?? {}, mine = experiment.measures.find((r) => r.sample === sample.name && sameOutput(r, track)) ?? {};
  const published = track.kind === "published", column = published ? "published_pesq" : "pesq", words = experiment.words[i];
  return {
    short: words.short, what: published ? `the published wav of: ${words.what}` : words.what, by: output.processing,
    rate: has(row.bit_per_s) ? `${number(row.bit_per_s, 0)} bit/s` : null, mean: row[column], own: mine[column],
  };
}

// A track in a line: 12 bits, 1200 bit/s, PESQ 2.58, of this sample 2.54.
function toldOf(track, own = true) {
  const words = wordsOf(track), mean = has(words.mean), here = own && has(words.own);
  const name = words.short.startsWith("Codec 2") && words.rate ? words.what.replace("the published wav of: ", "") : words.short;
  return [track.kind === "published" ? `published, ${name}` : track.kind === "source" ? words.what : name, name.includes("bit/s") ? null : words.rate,
    mean ? `PESQ ${number(words.mean)}` : null, here ? `${mean ? "" : "PESQ "}of this sample ${number(words.own)}` : null].filter(Boolean).join(", ");
}

// The tooltip of a track: what it is, its numbers, what its maker says, and the end of its file's name.
function tooltipOf(track) {
  const words = wordsOf(track);
  const told = toldOf(track), what = told.includes(words.what) ? null : words.what;
  return [told, what, words.by && words.by !== words.what ? `“${words.by}”` : null, track.kind === "source" ? null : track.tag].filter(Boolean).join("; ");
}

const outputRows = []; // {row, button, name} of the table of outputs
const shownValues = []; // [cell, its text for a measure] of the table of outputs

// Show a measure in the table of outputs.
function showMeasure(name) {
  for (const [cell, text] of shownValues) cell.textContent = text(name);
}

// Play the track that a row of the table stands for, if this sample has it.
function playRow(name) {
  const i = audio.sample.tracks.findIndex((track) => nameOf(track) === name);
  if (abx.trial || i < 0) return;
  listenTo(i);
  if (!playing()) playOrPause();
}

function outputTable() {
  const entries = [{ index: 0, name: "source source speech", what: "source speech, as it was recorded" },
    ...page.experiments.flatMap((experiment, e) => experiment.outputs.map((output, i) => ({
      index: output.index, name: `${`${experiment.label} ${output.index}`.trim()} ${output.tag}`, experiment, row: meanOf(experiment, output) ?? {},
      tag: output.tag, what: experiment.words[i].what, interval: experiment.words[i].pesq, intervals: experiment.words[i].intervals, colour: styleOf({ experiment: e, ...output }).colour, by: output.processing,
    })))].filter((entry, i) => i || page.samples.length);
  const most = Math.max(...entries.map(({ row }) => row?.samples ?? 0));
  const intervals = entries.some(({ interval }) => interval);
  const sets = page.experiments.filter((experiment) => experiment.test_set), set = sets[0]?.test_set;
  const digitsOf = (measure) => columnOf(measure).digits;
  const shown = (attributes, text) => {
    const cell = el(attributes.scope ? "th" : "td", attributes);
    shownValues.push([cell, text]);
    return cell;
  };
  const plain = (name, attributes = {}) => el("th", { scope: "col", ...attributes }, name);
  const heads = [...withLabel({ label: "experiment" }, ["index", "what it is"]).map((name) => plain(name)), plain("bits", { class: "number bits" }), plain("bit/s", { class: "number" }),
    shown({ scope: "col", class: "number" }, (measure) => columnOf(measure).label),
    ...(intervals ? [plain("95 % interval", { class: "number interval of-samples", title: `in which the mean lies with other sentences like these: bootstrap over ${most} samples` })] : []),
    ...(set ? [plain("test set", { class: "number", title: `mean over ${ofSet(set)} of the test set ${set.name}` }), plain("95 % interval", { class: "number interval", title: `bootstrap over ${counted(set.speakers, "speaker")}` })] : [])];
  const rows = entries.map((entry) => {
    const { row = {} } = entry;
    const ends = (measure) => entry.intervals?.[measure], found = (measure) => entry.experiment && inSet(entry.experiment, entry, measure);
    const button = el("button", { type: "button", class: "index", "aria-label": `play ${entry.index}, ${entry.what}`, onclick: (event) => { event.stopPropagation(); playRow(entry.name); } },
      el("span", { "aria-hidden": "true" }, "▶"), ` ${entry.index}`);
    const made = el("tr", { title: entry.by || null, onclick: () => playRow(entry.name) },
      withLabel(entry.experiment ?? { label: "all" }, []).map((text) => el("td", {}, text)),
      el("th", { scope: "row" }, button),
      el("td", {}, entry.colour ? el("i", { class: "swatch", style: `color: ${entry.colour}` }) : null, ` ${entry.what}`),
      el("td", { class: "number bits" }, has(row.bits_per_frame) ? `${number(row.bits_per_frame, 0)} / ${number(row.frame_ms, 0)} ms` : "–"),
      el("td", { class: "number" }, number(row.bit_per_s, 0)), shown({ class: "number pesq" }, (measure) => number(row[measure], digitsOf(measure))),
      intervals ? shown({ class: "number interval of-samples" }, (measure) => within(ends(measure)?.[0], ends(measure)?.[1], digitsOf(measure)) ?? "–") : null,
      ...(set ? [shown({ class: "number in-set" }, (measure) => number(found(measure)?.mean, digitsOf(measure))),
        shown({ class: "number interval" }, (measure) => within(found(measure)?.low, found(measure)?.high, digitsOf(measure)) ?? "–")] : []));
    outputRows.push({ made, button, name: entry.name });
    return made;
  });
  const box = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "outputs" }, el("table", {},
    el("caption", { class: "hidden" }, "the outputs, with bits and PESQ"),
    el("thead", {}, el("tr", {}, heads)),
    el("tbody", {}, rows)));
  showMeasure("pesq");
  document.body.classList.toggle("with-set", Boolean(set));
  const over = set ? `Means with 95 % intervals: over ${counted(most, "sample")}, and on the test set ${set.name} (${ofSet(set)}; bootstrap over speakers). PESQ goes from 1 to 4.5.`
    : most > 1 ? `PESQ (1 to 4.5) is a mean${intervals ? `, with its 95 % interval over ${most} samples` : ` over ${most} samples`}.` : "PESQ goes from 1 to 4.5.";
  return [scrolling(box), quiet(`${over} A click on a row plays it.`)];
}

// Mark the row of what plays; nothing is marked in a blind test.
function showOutputs() {
  const track = abx.trial ? null : audio.sample.tracks[audio.track];
  for (const { made, button, name } of outputRows) {
    const here = audio.sample.tracks.some((other) => nameOf(other) === name);
    track && nameOf(track) === name ? made.setAttribute("aria-current", "true") : made.removeAttribute("aria-current");
    button.disabled = Boolean(abx.trial) || !here;
  }
}

let chartHeight = 212, redrawChart = () => {};

// Give the table of outputs and the chart so much height that the timeline of the player ends within the window.
function fitFirstScreen() {
  const overview = byId("overview"), room = innerHeight - (byId("timeline").getBoundingClientRect().bottom - overview.offsetHeight + scrollY) - byId("finding").offsetHeight - 34;
  const beside = overview.offsetParent !== null && getComputedStyle(overview).display === "grid";
  overview.style.setProperty("--room", beside ? `${Math.max(room, 130)}px` : "60vh");
  const wanted = Math.max(212, byId("outputs").querySelector("table").offsetHeight);
  const height = beside ? Math.round(clamp(Math.min(room - 40, wanted), 110, 320)) : 240;
  if (height !== chartHeight) {
    chartHeight = height;
    redrawChart();
  }
}

// A measure against bit/s: outputs, their published wavs, Codec 2's modes. Speech without bits is a horizontal line. Each
// has its name beside it.
function againstBits() {
  const box = el("div", { class: "chart", id: "bits-chart" });
  const anchors = new Map();
  for (const r of page.experiments.flatMap((e, i) => e.anchors.map((a) => ({ ...a, experiment: i })))) {
    // Experiments that share a sample have the same anchors of it, so that each sample counts once.
    if (!anchors.has(r.tag)) anchors.set(r.tag, new Map());
    if (!anchors.get(r.tag).has(r.sample)) anchors.get(r.tag).set(r.sample, r);
  }
  const of = (tag, name) => mean([...(anchors.get(tag)?.values() ?? [])].map((r) => r[name]).filter(has));
  const choices = CHARTED_COLUMNS.filter((name) => page.experiments.some((e) => e.means.some((r) => has(r[name]))));
  if (!choices.length) return quiet("There is no measure of quality to draw against bit/s.");
  const hollow = choices.some((c) => page.experiments.some((e) => e.means.some((r) => has(r[`published_${c}`]) && has(r.bit_per_s))));
  let name = choices[0];
  const draw = () => {
    const modes = [...anchors.keys()].map((tag) => ({ tag, x: of(tag, "bit_per_s"), y: of(tag, name) })).filter((m) => has(m.x) && has(m.y)).sort((a, b) => a.x - b.x);
    const series = [];
    if (modes.length) series.push({ name: "Codec 2", x: modes.map((m) => m.x), y: modes.map((m) => m.y), labels: modes.map((m, i) => (i ? m.tag : `Codec 2 ${m.tag}`)), below: true, colour: "var(--quiet)", mark: "both", square: true });
    for (const [tag, text] of [["original", "sinusoidal model"], ["ideal_y", "y as analysed"]]) {
      const y = of(tag, name);
      if (has(y)) series.push({ name: `${text} ${number(y)}`, labels: [text], x: [0], y: [y], mark: "level", dash: tag === "original" ? null : "6 3", colour: "currentColor" });
    }
    page.experiments.forEach((experiment, e) => experiment.outputs.forEach((output, i) => {
      const r = meanOf(experiment, output);
      // Codec 2 has its own curve, and the sinusoidal model its own line.
      if (!r || !has(r[name]) || output.process === "original" || (output.process === "codec2" && anchors.has(output.tag))) return;
      const style = { ...styleOf({ experiment: e, ...output }), wide: true }, label = `${experiment.label} ${output.index}`.trim();
      const words = `${label}: ${experiment.words[i].short}`;
      if (!has(r.bit_per_s)) series.push({ ...style, wide: false, name: `${label}, no quantiser, ${number(r[name])}`, labels: [words], x: [0], y: [r[name]], mark: "level", dash: "2 3" });
      else {
        const bits = has(r.bits_per_frame) ? `, ${r.bits_per_frame} bits in ${r.frame_ms} ms` : "";
        series.push({ ...style, name: `${label} ${output.tag}${bits}`, x: [r.bit_per_s], y: [r[name]], mark: "dots", square: output.process !== "vocoder", labels: [words] });
        const published = r[`published_${name}`];
        if (has(published)) series.push({ ...style, hollow: true, name: `${label} published`, x: [r.bit_per_s], y: [published], mark: "dots" });
      }
    }));
    const label = page.columns[name].label;
    chart(box, series, { x: { label: "bit/s", range: [0, Math.max(3400, ...series.filter((s) => s.mark !== "level").flatMap((s) => s.x.map((x) => 1.05 * x)))] }, y: { label }, height: chartHeight, legend: false, title: `${label} against bit/s` });
  };
  redrawn(box, draw);
  redrawChart = draw;
  return el("div", {}, el("div", { class: "row" }, select("Measure", choices.map((c) => [c, page.columns[c].label]), (value) => {
    name = value;
    showMeasure(name);
    draw();
  }), el("span", { class: "quiet" }, `against bit/s: ■ all, ● spectrum only${hollow ? ", ○ published" : ""}`)), box);
}

function initOverview() {
  byId("outputs").append(...outputTable());
  byId("against-bits").append(againstBits());
  byId("finding").append(...page.experiments.filter((e) => e.finding).map((e) =>
    el("p", {}, several ? el("strong", {}, `${named(e)}: `) : null, e.finding)));
  const observer = new ResizeObserver(fitFirstScreen);
  for (const box of [document.querySelector("header"), byId("player"), byId("finding")]) observer.observe(box);
  addEventListener("resize", fitFirstScreen);
}
