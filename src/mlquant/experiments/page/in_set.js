// The test set: means of its utterances, differences that are paired by utterance, and clips to listen to.

const GROUPS = { all: "all speakers", male: "male", female: "female" };
const inSet = (experiment, output, measure, group = "all") =>
  experiment.test_set?.means.find((row) => row.group === group && row.measure === measure && sameOutput(row, output));
const counted = (count, name) => `${count} ${name}${count === 1 ? "" : "s"}`;
const ofSet = ({ utterances, speakers }) => `${counted(utterances, "utterance")} of ${counted(speakers, "speaker")}`;
const columnOf = (measure) => page.columns[measure] ?? { label: measure, digits: 3 };
const within = (low, high, digits, text = number) => (has(low) ? `${text(low, digits)} to ${text(high, digits)}` : null);

function setMeans(experiment) {
  const { measures, means } = experiment.test_set, box = el("div", {});
  const groups = Object.keys(GROUPS).filter((group) => means.some((row) => row.group === group));
  const draw = (group) => {
    const rows = experiment.outputs.map((output, i) => [output.index, experiment.words[i].short, ...measures.map((measure) => {
      const found = inSet(experiment, output, measure, group), { digits } = columnOf(measure);
      if (!found) return null;
      return { text: el("span", {}, number(found.mean, digits), " ", el("small", { class: "quiet" }, within(found.low, found.high, digits))), sort: found.mean };
    })]);
    const some = means.filter((row) => row.group === group);
    const most = (name) => Math.max(...some.map((row) => row[name]));
    box.replaceChildren(table(`means on the test set, ${GROUPS[group]}`, ["index", "what it is", ...measures.map((measure) => ({ text: columnOf(measure).label, help: columnOf(measure).help }))], rows),
      quiet(`Means over ${ofSet({ utterances: most("utterances"), speakers: most("speakers") })}${some.some((row) => has(row.low)) ? ", each with its 95 % interval over speakers" : ": too few speakers for intervals"}.`));
  };
  const buttons = groups.map((group) => toggle(GROUPS[group], group === "all", () => {
    buttons.forEach((button, i) => press(button, groups[i] === group));
    draw(group);
  }));
  draw("all");
  return [el("h3", {}, "Means"), el("div", { class: "row", role: "group", "aria-label": "speakers" }, buttons), box];
}

// What a difference says of the second output: a measure that is neither better higher nor lower differs only.
function saidOf({ low, high }, { better }) {
  if (!has(low)) return "too few speakers";
  if (low <= 0 && high >= 0) return "not beyond chance";
  if (better !== "higher" && better !== "lower") return "beyond chance";
  return `${(low > 0) === (better === "higher") ? "better" : "worse"}, beyond chance`;
}

function setPairs(experiment) {
  const { measures, pairs } = experiment.test_set, box = el("div", {});
  const groups = Object.keys(GROUPS).filter((group) => pairs.some((row) => row.group === group));
  const name = (index, tag) => `${index}: ${experiment.words[experiment.outputs.findIndex((o) => sameOutput(o, { index, tag }))].short}`;
  const draw = (measure) => {
    const column = columnOf(measure), digits = column.digits + 1;
    const cell = (row) => {
      if (!row) return null;
      const said = saidOf(row, column), sure = said.endsWith("beyond chance") && !said.startsWith("not");
      return { sort: row.difference, text: el("span", { class: "change" }, signed(row.difference, digits), " ", el(sure ? "strong" : "span", {}, said), " ",
        el("small", { class: "quiet" }, within(row.low, row.high, digits, signed))) };
    };
    const mine = pairs.filter((row) => row.measure === measure), rows = new Map();
    for (const row of mine) {
      const key = [name(row.index, row.tag), name(row.index_b, row.tag_b)], id = JSON.stringify(key);
      if (!rows.has(id)) rows.set(id, { key });
      rows.get(id)[row.group] = row;
    }
    box.replaceChildren(table("differences of outputs on the test set, paired by utterance", ["first", "second", ...groups.map((group) => GROUPS[group])],
      [...rows.values()].map((row) => [...row.key, ...groups.map((group) => cell(row[group]))])));
  };
  if (!pairs.length) return [];
  draw(measures[0]);
  return [el("h3", {}, "Differences"), quiet("Of each two outputs, the second less the first, with its 95 % interval over speakers. Better and worse say what the second is. Of twenty differences that are none, about one is beyond chance all the same."),
    el("div", { class: "row" }, select("Measure", measures.filter((m) => pairs.some((row) => row.measure === m)).map((m) => [m, columnOf(m).label]), draw, { "data-of": "pairs" })), box];
}

// The player of clips: one at a time, and none while the player above runs. Source and output of an utterance go on from
// the same position, when one is chosen while the other plays.
const clips = { now: null, side: "coded", node: null, started: 0, offset: 0, buttons: [], buffers: new WeakMap(), status: null };

function clipBuffer(place) {
  if (!clips.buffers.has(place)) {
    const sound = upsampled(array(place), 1 / 32768), made = audio.context.createBuffer(1, sound.length, FULL_RATE);
    made.copyToChannel(sound, 0);
    clips.buffers.set(place, made);
  }
  return clips.buffers.get(place);
}

function showClips() {
  for (const { button, sign, pick, side } of clips.buttons) {
    const on = Boolean(clips.node) && pick === clips.now && side === clips.side;
    press(button, on);
    sign.textContent = on ? "■" : "▶";
  }
}

function stopClip() {
  if (!clips.node) return;
  clips.node.source.onended = null;
  clips.node.volume.gain.setTargetAtTime(0, audio.context.currentTime, RAMP / 3);
  clips.node.source.stop(audio.context.currentTime + 2 * RAMP);
  clips.node = null;
  showClips();
}

function playClip(pick, side) {
  const goOn = clips.node && clips.now === pick ? clips.offset + audio.context.currentTime - clips.started : 0;
  stopClip();
  if (playing()) playOrPause();
  ensureContext();
  audio.context.resume();
  const data = clipBuffer(pick[side]), offset = goOn < data.duration ? Math.max(goOn, 0) : 0;
  const source = new AudioBufferSourceNode(audio.context, { buffer: data }), volume = new GainNode(audio.context);
  source.connect(volume).connect(audio.context.destination);
  const started = audio.context.currentTime + LEAD;
  source.start(started, offset);
  source.onended = () => {
    clips.node = null;
    showClips();
  };
  Object.assign(clips, { now: pick, side, node: { source, volume }, started, offset });
  clips.status.textContent = `Plays ${side === "source" ? "the source of" : ""} ${pick.told}.`.replace(/ +/g, " ");
  showClips();
}

const pressClip = (pick, side) => (clips.node && clips.now === pick && clips.side === side ? stopClip() : playClip(pick, side));

// What keys do in the section of the test set: space plays and stops, 0 and the index go between source and output.
function clipKey(key, digit) {
  const pick = clips.now ?? clips.buttons[0]?.pick;
  if (!pick) return false;
  if (key === " ") pressClip(pick, clips.side);
  else if (digit === "0") playClip(pick, "source");
  else if (digit === String(pick.index)) playClip(pick, "coded");
  else return digit !== null;
  return true;
}

function setClips(experiment) {
  const shown = experiment.test_set.clips;
  if (!shown) return [];
  const { label, digits } = columnOf(shown.measure);
  const button = (pick, side, text) => {
    const sign = el("span", { "aria-hidden": "true" }, "▶");
    const made = toggle([sign, ` ${text}`], false, () => pressClip(pick, side), { "aria-label": `${side === "source" ? "source of " : ""}${pick.told}` });
    clips.buttons.push({ button: made, sign, pick, side });
    return made;
  };
  const rows = shown.outputs.map(({ index, tag, picks }, i) => [index, experiment.words[i].short, ...["best", "median", "worst"].map((which) => {
    const pick = picks.find((one) => one.which === which);
    if (!pick) return null;
    const figure = `${label} ${number(pick.value, digits)}`;
    pick.index = index;
    pick.told = `${several ? `${named(experiment)}, ` : ""}the ${which} utterance of ${index}, ${experiment.words[i].short}: ${pick.utterance} of ${pick.speaker}, ${figure}`;
    return el("div", { class: "clip" }, button(pick, "source", "source"), " ", button(pick, "coded", String(index)), " ",
      el("small", {}, figure, ", ", el("span", { class: "quiet" }, `${pick.speaker}: ${pick.utterance}`)));
  })]);
  const cut = shown.seconds ? ` Of clips longer than ${number(shown.seconds, 1)} s the beginning is here; the figures are of all of it.` : "";
  return [el("h3", {}, "The best, the median and the worst utterance of each output"),
    quiet(`By ${label}. Space plays and stops; 0 and the index of the output go between source and output.${cut}`),
    table("utterances to listen to", ["index", "what it is", "best", "median", "worst"], rows, false)];
}

function initInSet() {
  const section = byId("test-set"), having = page.experiments.filter((experiment) => experiment.test_set);
  section.hidden = !having.length;
  document.querySelector("nav a[href='#test-set']").hidden = !having.length;
  clips.status = el("p", { id: "clip-status", class: "quiet", "aria-live": "polite" });
  for (const experiment of having) {
    const { test_set: set } = experiment;
    section.append(...(several ? [el("h3", {}, named(experiment))] : []),
      el("p", {}, `The outputs were measured on ${ofSet(set)} of the test set ${set.name} as well. ${set.about} These figures count for more than those of the samples, which are few.`),
      ...setMeans(experiment), ...setPairs(experiment), ...setClips(experiment));
  }
  section.append(clips.status);
  audio.listeners.push(() => playing() && stopClip());
}
