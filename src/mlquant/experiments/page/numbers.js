// Legend, measures, training, history and provenance.

// The columns that the page shows until a reader asks for all, measures of speech (PESQ ...) first, so that a narrow
// window shows them; after each comes that of the published wavs.
const FIRST_COLUMNS = Object.keys(page.columns).filter((name) => page.columns[name].first)
  .sort((a, b) => page.columns[b].of_speech - page.columns[a].of_speech).flatMap((name) => [name, `published_${name}`]);
// The measures that can be drawn against bit/s, those of speech first.
const CHARTED_COLUMNS = Object.keys(page.columns).filter((name) => page.columns[name].charted).sort((a, b) => page.columns[b].of_speech - page.columns[a].of_speech);

const several = page.experiments.length > 1;
const has = (value) => value !== null && value !== undefined;
const mean = (values) => (values.length ? values.reduce((a, b) => a + b, 0) / values.length : null);
const signed = (value, digits) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;
const named = (experiment) => experiment.label || experiment.name;
const quiet = (text) => el("p", { class: "quiet" }, text);
const details = (summary, ...children) => el("details", {}, el("summary", {}, summary), children);
const withLabel = (experiment, cells) => (several ? [named(experiment), ...cells] : cells);

function legend() {
  const heads = withLabel({ label: "experiment" }, ["index", "tag", "what it is", "what it shows", "networks", "quantiser", "bits", "bit/s"]);
  const rate = (experiment, o) => experiment.measures.find((r) => r.index === o.index && r.tag === o.tag && has(r.bit_per_s)) ?? {};
  return table("what each index is", heads, page.experiments.flatMap((experiment) => experiment.outputs.map((o) => withLabel(experiment, [
    o.index, o.tag, o.processing ?? o.process, o.shows, (o.networks ?? []).join(", ") || null,
    o.quantiser ? `${o.quantiser}, ${o.stages ?? "all"} ${o.stages === 1 ? "stage" : "stages"}, ${o.mbest} best` : null,
    has(rate(experiment, o).bits_per_frame) ? `${rate(experiment, o).bits_per_frame} in ${rate(experiment, o).frame_ms} ms` : null,
    rate(experiment, o).bit_per_s]))), false);
}

// The measures: means over all, male and female samples, or those of each sample; the first columns, or all.
function measures() {
  const box = el("div", {}), state = { each: false, all: false };
  const draw = () => {
    const source = page.experiments.flatMap((e) => (state.each ? e.measures : e.means).map((r) => [e, r]));
    const filled = Object.keys(page.columns).filter((name) => source.some(([, r]) => has(r[name])));
    // An empty PESQ column stays; a warning on the page says why it is empty.
    const columns = state.all ? Object.keys(page.columns) : FIRST_COLUMNS.filter((name) => filled.includes(name) || name === "pesq");
    const first = state.each ? ["sample", "sex"] : ["of"];
    const heads = [...withLabel({ label: "experiment" }, [...first, "index", "tag"]),
      ...columns.map((name) => ({ text: page.columns[name]?.label ?? name, help: page.columns[name]?.help }))];
    box.replaceChildren(table("measures", heads, source.map(([e, r]) => [
      ...withLabel(e, state.each ? [r.sample, r.sex || null] : [r.group]), r.index, r.tag,
      ...columns.map((name) => (has(r[name]) ? { text: number(r[name], page.columns[name].digits), sort: r[name] } : null))])));
  };
  const buttons = [["means", "each", false], ["each sample", "each", true], ["all columns", "all", null]].map(([text, name, value]) => {
    const made = toggle(text, value === state[name], () => {
      state[name] = value ?? !state[name];
      buttons.forEach(([button, n, v]) => press(button, v === null ? state[n] : state[n] === v));
      draw();
    });
    return [made, name, value];
  });
  draw();
  return [el("div", { class: "row", role: "group", "aria-label": "rows and columns" }, buttons.map(([button]) => button)), box];
}

// What raters said of the outputs in a listening test.
function heard({ title, columns, rows }) {
  const cell = (text) => (text === "" ? null : Number.isFinite(+text) ? { text, sort: +text } : text);
  return [el("h3", {}, title), table(title, columns, rows.map((cells) => cells.map(cell)))];
}

function explanations() {
  return details("What the columns are", el("dl", { class: "explained" }, Object.values(page.columns).map((column) =>
    el("div", {}, el("dt", {}, column.label), el("dd", {}, column.help)))));
}

function delays() {
  return page.experiments.map((experiment) => {
    const known = mean(experiment.measures.map((r) => r.delay_samples).filter(has));
    const measured = mean(experiment.measures.map((r) => r.delay_measured).filter(has));
    const ms = (n) => `${number(n / 8, 1)} ms`;
    const before = several ? `${named(experiment)}: the` : "The";
    return quiet(`${before} outputs come ${number(known, 0)} samples (${ms(known)}) after the source, which is delayed by as much here; ${has(measured) ? `measured by cross-correlation ${number(measured, 1)} samples (${ms(measured)}) on average` : "not measured"}.`);
  });
}

// Which measures are empty, and why.
const missingOf = (e) => e.empty ?? (e.pesq ? [] : ["PESQ: the Python package pesq was not installed when the tables were made"]);

function initNumbers() {
  const missing = page.experiments.flatMap((e) => missingOf(e).map((text) =>
    el("p", { class: "warning" }, `${several ? `${named(e)}: ` : ""}Left empty is ${text}. Measure again: snakemake results/${e.name}_wav -R measure`)));
  const optional = page.experiments.flatMap((e) => (e.optional ?? []).map((text) =>
    quiet(`${several ? `${named(e)}: ` : ""}Left empty is ${text}. It is optional: pip install 'mlquant[measures]', then snakemake results/${e.name}_wav -R measure`)));
  const absent = page.experiments.filter((e) => !e.published).map((e) => quiet(`${several ? `${named(e)}: no` : "No"} folder of published wavs was named, so there are no published columns.`));
  const tags = [...new Set(page.experiments.flatMap((e) => e.anchors.map((r) => r.tag)))];
  const columns = Object.keys(page.columns).filter((name) => page.experiments.some((e) => e.anchors.some((r) => has(r[name]))));
  byId("numbers").append(legend(), ...missing, ...measures(), ...page.ratings.flatMap(heard), explanations(), ...optional, ...absent, ...delays(),
    details("Codec 2's modes, the original and the true y: means", table("anchors",
      [...withLabel({ label: "experiment" }, ["anchor"]), ...columns.map((name) => ({ text: page.columns[name].label, help: page.columns[name].help }))],
      page.experiments.flatMap((e) => tags.map((tag) => withLabel(e, [tag, ...columns.map((name) => {
        const value = mean(e.anchors.filter((r) => r.tag === tag).map((r) => r[name]).filter(has));
        return has(value) ? { text: number(value, page.columns[name].digits), sort: value } : null;
      })]))))));
}

// Charts of a network's losses: of the loss itself and of the distortion, training and held out.
function lossCharts(name, network) {
  const epochs = network.losses.map((r) => r.epoch);
  return [["loss", "loss"], ["sd_dB2", "SD (dB²)"]].map(([column, label]) => {
    const box = el("div", { class: "chart" });
    const series = [["training", column, colour(0)], ["held out", `held_out_${column}`, colour(1)]]
      .map(([title, key, c]) => ({ name: title, x: epochs, y: network.losses.map((r) => r[key] ?? NaN), colour: c, mark: epochs.length < 3 ? "both" : "line" }));
    redrawn(box, () => chart(box, series, { x: { label: "epoch" }, y: { label, log: 10 }, height: 220, title: `${label} of ${name}` }));
    return el("figure", {}, el("figcaption", {}, `${name}: ${label}`), box);
  });
}

// A chart of the codebooks' variance; null where an experiment before this one has the same codebooks.
function traceChart(experiment, i, all) {
  if (all.slice(0, i).some((other) => JSON.stringify(other.traces) === JSON.stringify(experiment.traces))) return null;
  const box = el("div", { class: "chart" });
  const series = Object.entries(experiment.traces).map(([name, rows], i) =>
    ({ name, x: rows.map((r) => r.entries), y: rows.map((r) => r.variance), colour: colour(i), mark: "both" }));
  redrawn(box, () => chart(box, series, { x: { label: "entries", log: 2 }, y: { label: "variance", log: 10 }, height: 220, title: "variance of the codebooks" }));
  return el("figure", {}, el("figcaption", {}, `codebooks${several ? ` of ${named(experiment)}` : ""}: variance of an element against entries`), box);
}

function historyCharts() {
  const runs = new Map(); // of each experiment: its runs by time
  for (const r of page.history) {
    if (!runs.has(r.experiment)) runs.set(r.experiment, []);
    const list = runs.get(r.experiment);
    if (list.at(-1)?.time !== r.time || list.at(-1)?.key !== r.key) list.push({ time: r.time, key: r.key, revision: r.revision, rows: [] });
    list.at(-1).rows.push(r);
    list.at(-1).quick = Boolean(r.quick_look);
  }
  if (!runs.size) return [quiet("This page was made without a history.")];
  // Quick looks stand in the table only: in a chart they would look like the runs beside them.
  const drawn = new Map([...runs].map(([experiment, list]) => [experiment, list.map((run, i) => ({ ...run, x: i + 1 })).filter((run) => !run.quick)]));
  const charts = [["pesq", "mean PESQ"], ["sd_dB2", "mean SD (dB²)"]].map(([column, label]) => {
    const box = el("div", { class: "chart" }), series = [];
    for (const [experiment, list] of drawn) {
      const keys = new Set(list.flatMap((run) => run.rows.map((r) => r.index)));
      [...keys].sort((a, b) => a - b).forEach((index, i) => {
        const y = list.map((run) => run.rows.find((r) => r.index === index)?.[column] ?? NaN);
        if (y.some(Number.isFinite)) series.push({ name: `${runs.size > 1 ? `${experiment} ` : ""}${index}`, x: list.map((run) => run.x), y, colour: colour(i), mark: "both" });
      });
    }
    const longest = Math.max(...[...runs.values()].map((list) => list.length));
    const each = Math.ceil(longest / 10);
    redrawn(box, () => chart(box, series, { x: { label: "run", range: [0.5, longest + 0.5], ticks: Array.from({ length: Math.ceil(longest / each) }, (_, i) => 1 + i * each) }, y: { label }, height: 220, title: `${label} by run` }));
    return el("figure", {}, el("figcaption", {}, `${label} of each index, by run`), series.length ? box : quiet("nothing to draw"));
  });
  const rows = [...runs].flatMap(([experiment, list]) => list.map((run, i) => [experiment, run.quick ? `${i + 1}, a quick look` : i + 1, run.time, run.key, run.revision || null,
    run.rows.map((r) => `${r.index}: ${number(r.pesq)}`).join("  "), run.rows.filter((r) => has(r.sd_dB2)).map((r) => `${r.index}: ${number(r.sd_dB2)}`).join("  ")]));
  return [el("div", { class: "grid" }, charts), details(`${rows.length} ${rows.length === 1 ? "run" : "runs"} of results/history.csv`,
    table("history", ["experiment", "run", "time (UTC)", "key", "revision", "PESQ", "SD dB²"], rows))];
}

function initTraining() {
  const done = new Set();
  const charts = page.experiments.flatMap((e) => Object.entries(e.networks).flatMap(([name, network]) => {
    // Experiments share networks. One with the same name, but another seed, epochs or losses, gets its own charts.
    const content = JSON.stringify([name, network]);
    if (done.has(content) || !network.losses.length) return [];
    done.add(content);
    return lossCharts(several ? `${named(e)}: ${name}` : name, network);
  }));
  const traces = page.experiments.filter((e) => Object.values(e.traces).some((rows) => rows.length)).map(traceChart);
  byId("networks").append(el("div", { class: "grid" }, charts, traces), el("h3", {}, "History"), ...historyCharts());
}

const text = (value) => (typeof value === "string" || typeof value === "number" ? value : value === null || value === undefined ? null : JSON.stringify(value));

function provenanceOf(experiment) {
  const pairs = (object) => Object.entries(object ?? {}).map(([key, value]) => [key, text(value)]);
  const names = Object.keys(experiment.networks);
  const settings = [...new Set(names.flatMap((name) => Object.keys(experiment.networks[name].settings)))];
  const seeds = experiment.stages.filter((s) => has(s.settings?.seed)).map((s) => [s.folder, s.settings.seed]);
  const seconds = experiment.stages.map((s) => s.seconds).filter(has);
  const total = seconds.reduce((a, b) => a + b, 0);
  const list = (title, caption, heads, rows) => (rows.length ? details(`${title} (${rows.length})`, table(`${caption}${several ? ` of ${named(experiment)}` : ""}`, heads, rows)) : null);
  return el("div", {}, several ? el("h3", {}, named(experiment)) : null,
    el("dl", { class: "facts" }, [["key", experiment.key], ["revision", revision(experiment)], ["tables", experiment.folder],
      ["run time", seconds.length ? `${number(total, 0)} s in ${seconds.length} of ${experiment.stages.length} runs of commands` : "not recorded"],
      ["published wavs", experiment.published ?? "none named"]].map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    list("Networks' settings", "settings of the networks", ["setting", ...names], settings.map((key) => [key, ...names.map((name) => text(experiment.networks[name].settings[key]))])),
    list("Outputs' settings", "settings of the outputs", ["index", "settings"], experiment.outputs.map((o) => [o.index, text(o)])),
    list("Commands", "runs of commands", ["folder", "command", "settings", "inputs", "s"], experiment.stages.map((s) => [
      s.folder, text(s.command), text(s.settings), text(s.inputs), has(s.seconds) ? { text: number(s.seconds, 1), sort: s.seconds } : null])),
    list("Seeds", "seeds", ["folder", "seed"], seeds),
    list("Versions", "versions", ["package", "version"], pairs(experiment.versions)),
    list("Code", "digests of the definitions that the commands run", ["definition", "digest"], pairs(experiment.definitions)),
    list("Wavs", "wavs", ["file", "from"], Object.entries(experiment.wavs).map(([name, wav]) => [
      several ? name : { text: el("a", { href: encodeURIComponent(name) }, name), sort: name }, wav.from])));
}

// The git revision in words, which say whether there were uncommitted changes.
function revision(experiment) {
  const found = experiment.versions?.revision;
  if (!found) return "none: not made in a git checkout";
  return found.endsWith("-dirty") ? `${found.replace("-dirty", "")}, with uncommitted changes` : `${found}, clean`;
}

function initProvenance() {
  byId("provenance").append(...page.experiments.map(provenanceOf));
}
