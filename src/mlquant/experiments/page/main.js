// Buttons, keys, and everything that moves with the clock.

const KEYS = [
  ["space", "play or pause; in Frames: new noise"], ["0", "source speech"], ["1 … 9", "that index; again: the next with that index"],
  ["shift 1 … 9", "the published wav of that index"], ["← →", "0.1 s back, on; with shift 1 s"], ["home", "to the start"], ["[ ]", "set the ends of the range to repeat"],
  ["\\", "clear the range"], ["r", "repeat all"], ["m", "match levels"], ["s", "next sample; with shift the previous one"], ["n b", "next frame, previous frame"],
  ["j", "frame with most distortion, then the next; with shift the previous one"], ["w", "loss weighting"], ["v q", "go to Frames, leave it"], ["x", "go to A/B/X"],
  ["a b x", "in A/B/X: hear A, B, X"], ["shift a, b", "in A/B/X: X is A, X is B"], ["esc", "end A/B/X"], ["?", "show these keys, or hide them"],
];

// Write words into the status line if they are new: a screen reader reads whatever is written, even the same words.
function say(words) {
  if (byId("playing").textContent !== words) byId("playing").textContent = words;
}

// What was done, and, above all else, whatever makes it less than it looks like.
function showAbout() {
  const before = (e) => (several ? `${named(e)}: ` : "");
  const warn = (...text) => el("p", { class: "warning" }, text);
  const banners = page.experiments.flatMap((e) => [
    e.quick_look ? warn(before(e), e.quick_look) : null,
    e.left_out?.length ? warn(`${before(e)}left out, as they could not be obtained: ${e.left_out.join(", ")}.`) : null,
    missingOf(e).length ? warn(`${before(e)}some measures are empty: `, el("a", { href: "#numbers" }, "see why"), ".") : null,
  ]);
  if (page.not_held) banners.push(warn(`Of ${page.samples.length + page.not_held} samples ${page.samples.length} can be heard here. More would be too much for one page: the others are in the tables below, their wavs under Provenance.`));
  const shown = banners.filter(Boolean);
  byId("about").append(...page.experiments.map((e) => el("p", { class: "done" },
    several ? el("strong", {}, `${named(e)}: `) : null, several && e.title ? `${e.title}. ` : null, e.sentence)));
  if (!shown.length) return;
  const box = el("div", { class: "banners" }, el("div", {}, shown));
  byId("about").append(scrolling(box));
}

const sampleButtons = page.samples.map((sample) => toggle(sample.sex ? [sample.name, " ", el("small", {}, sample.sex)] : sample.name, false, () => choose(sample)));
let trackButtons = [];

// A row of buttons for each group: the source, then of each experiment its outputs and the published ones.
function showTracks() {
  const rows = new Map();
  trackButtons = audio.sample.tracks.map((track, i) => {
    const experiment = page.experiments[track.experiment];
    const group = track.kind === "source" ? `${page.experiments[0].label} outputs`.trim() : `${experiment.label ? `${experiment.label} ` : ""}${track.kind === "output" ? "outputs" : "published"}`;
    const shift = track.kind === "published" ? "⇧" : "", words = wordsOf(track);
    const made = toggle([track.kind === "source" ? null : el("i", { class: "swatch", style: `color: ${styleOf(track).colour}` }), track.kind === "source" ? null : " ",
      el("kbd", {}, `${shift}${track.index}`), " ", el("small", {}, words.short)], false, () => listenTo(i),
    { "data-track": i, "aria-label": `${shift ? "published " : ""}${track.index}, ${words.short}`, title: tooltipOf(track) });
    rows.set(group, [...(rows.get(group) ?? []), made]);
    return made;
  });
  byId("tracks").firstElementChild.replaceChildren(...[...rows].map(([group, buttons]) => el("div", { class: "row" }, el("span", { class: "group" }, group), buttons)));
}

const transport = {};

function initTransport() {
  const key = (name) => el("kbd", {}, name);
  transport.play = el("button", { type: "button", id: "play", onclick: playOrPause });
  transport.time = el("output", { id: "time", "aria-label": "time" });
  transport.around = toggle(["repeat ", key("r")], false, () => setAround(!audio.around));
  transport.levelled = toggle(["match levels ", key("m")], false, () => setLevelled(!audio.levelled), { title: "gives all tracks the RMS of the softest" });
  transport.mini = el("button", { type: "button", onclick: playOrPause });
  transport.miniText = el("span", {});
  transport.miniTime = el("output", { "aria-label": "time" });
  byId("mini").append(transport.mini, transport.miniText, transport.miniTime, el("a", { href: "#player" }, "to the player"));
  transport.clear = el("button", { type: "button", onclick: () => setLoop(null) }, "clear ", key("\\"));
  byId("transport").append(transport.play, transport.time,
    el("button", { type: "button", onclick: () => setEnd(0) }, "from here ", key("[")), el("button", { type: "button", onclick: () => setEnd(1) }, "to here ", key("]")),
    transport.clear, transport.around, transport.levelled);
  transport.help = el("button", { type: "button", id: "help", "aria-label": "keys", title: "the keys of this page", "aria-expanded": "false", "aria-controls": "keys", popovertarget: "keys" }, "?");
  byId("transport").append(transport.help);
  byId("keys").addEventListener("toggle", (event) => transport.help.setAttribute("aria-expanded", String(event.newState === "open")));
  byId("samples").firstElementChild.append(el("span", { class: "group" }, "sample"), ...sampleButtons);
  scrolling(byId("samples"));
  scrolling(byId("tracks"));
  byId("keys").querySelector("dl").append(...KEYS.map(([keys, what]) => el("div", {}, el("dt", {}, keys.split(" ").map((k) => el("kbd", {}, k))), el("dd", {}, what))));
}

// Set one end of the range to repeat to the present position.
function setEnd(which) {
  const loop = [...(audio.loop ?? [0, duration()])];
  loop[which] = position();
  setLoop(loop[1] > loop[0] ? loop : which ? [0, loop[1]] : [loop[0], duration()]);
}

// The small player is there while the other one is out of sight. The page leaves as much room at its end, and no focus
// comes to lie below it.
function initMini() {
  new IntersectionObserver(([entry]) => {
    byId("mini").hidden = entry.isIntersecting || !page.samples.length;
    document.documentElement.classList.toggle("with-mini", !byId("mini").hidden);
  }).observe(byId("timeline"));
}

let drawnSample = null;

// Draw everything that depends on the state of the player; called after each change of it.
function show() {
  const { sample } = audio;
  if (drawnSample !== sample) {
    drawnSample = sample;
    timeline.drawn = null;
    showTracks();
    fillAbx();
    viewer.frame = -1;
  }
  const blind = abx.trial !== null, track = sample.tracks[audio.track];
  page.samples.forEach((other, i) => press(sampleButtons[i], other === sample));
  trackButtons.forEach((button, i) => {
    press(button, !blind && i === audio.track);
    button.disabled = blind;
  });
  transport.play.replaceChildren(playing() ? "pause " : "play ", el("kbd", {}, "space"));
  transport.mini.replaceChildren(playing() ? "pause" : "play");
  transport.miniText.textContent = blind ? `${sample.name}: A/B/X` : `${sample.name}, ${track.kind === "source" ? "" : `${track.label}: `}${wordsOf(track).short}`;
  press(transport.around, audio.around);
  press(transport.levelled, audio.levelled);
  const loop = audio.loop ? `, repeats ${number(audio.loop[0])} to ${number(audio.loop[1])} s` : "";
  const level = audio.levelled && !blind ? `, ${number(20 * Math.log10(gain(track)), 1)} dB` : "";
  say(blind ? `${sample.name}: A/B/X${loop}` : `${sample.name}, ${track.kind === "source" ? "" : `${track.label}: `}${toldOf(track).replace(track.kind === "published" ? /^published, / : /^$/, "")}${level}${loop}${track.kind === "source" ? "" : ` (${wordsOf(track).what}; ${track.tag})`}`);
  showOutputs();
  drawTimeline(sample.tracks[blind ? 0 : audio.track]);
  follow();
  drawFrame(true);
}

// Update what moves with the clock.
function follow() {
  placeCursor();
  const time = position();
  transport.time.value = `${number(time, 3)} / ${number(duration())} s`;
  transport.miniTime.value = `${number(time, 1)} / ${number(duration(), 1)} s`;
  timeline.box.setAttribute("aria-valuemax", number(duration(), 3));
  timeline.box.setAttribute("aria-valuenow", number(time, 3));
  timeline.box.setAttribute("aria-valuetext", `${number(time)} seconds, frame ${frameAt(time)}`);
}

function tickClock() {
  if (playing()) {
    follow();
    drawFrame();
  }
  requestAnimationFrame(tickClock);
}

// Switch to the track of an index and kind; of several such tracks, to the one after the track that plays.
function byIndex(index, kind) {
  const found = audio.sample.tracks.flatMap((track, i) => (track.index === index && (index === 0 || track.kind === kind) ? [i] : []));
  if (found.length) listenTo(found[(found.indexOf(audio.track) + 1) % found.length]);
}

function nextSample(by) {
  choose(page.samples[(page.samples.indexOf(audio.sample) + by + page.samples.length) % page.samples.length]);
}

function enter(id) {
  byId(id).focus({ preventScroll: true });
  byId(id).scrollIntoView({ block: "nearest" });
}

// Do what a key stands for; return true if it does something.
function pressed(event) {
  const { target, key, shiftKey: shift } = event, region = target.closest("[data-keys]")?.dataset.keys;
  const lower = key.length === 1 ? key.toLowerCase() : key;
  if (key === "?") {
    if (getComputedStyle(transport.help).display !== "none") byId("keys").togglePopover();
    return true;
  }
  if (key === "Escape" && byId("keys").matches(":popover-open")) {
    byId("keys").hidePopover();
    return true;
  }
  const digit = /^(?:Digit|Numpad)(\d)$/.exec(event.code)?.[1] ?? (/^\d$/.test(key) ? key : null);
  if (region === "abx" && abx.trial && ["a", "b", "x"].includes(lower)) {
    if (!shift) hearAbx(lower.toUpperCase());
    else if (lower !== "x") answer(lower.toUpperCase());
    return true;
  }
  if (key === " " && target.matches("button, summary, a")) return false;
  if (region === "test-set" && (key === " " || digit !== null)) return clipKey(key, digit);
  if (key === " ") {
    if (region === "viewer" && bottleneck.layers) drawNoise();
    else playOrPause();
    return true;
  }
  if (["ArrowLeft", "ArrowRight", "Home"].includes(key)) {
    if (target.matches("input, .scroll")) return false;
    if (key === "Home") seek(0);
    else seek(position() + (key === "ArrowLeft" ? -1 : 1) * (shift ? 1 : 0.1));
    return true;
  }
  if (digit !== null) {
    if (!abx.trial) byIndex(+digit, shift ? "published" : "output");
    return true;
  }
  const actions = {
    "[": () => setEnd(0), "]": () => setEnd(1), "\\": () => setLoop(null),
    r: () => setAround(!audio.around), m: () => setLevelled(!audio.levelled), s: () => nextSample(shift ? -1 : 1),
    n: () => goTo(viewer.frame + 1), b: () => goTo(viewer.frame - 1), j: () => jump(shift ? -1 : 1), w: toggleWeight,
    v: () => enter("viewer"), x: () => enter("abx"), Escape: () => abx.trial && end(),
    q: () => region === "viewer" && enter("player"),
  };
  if (!Object.hasOwn(actions, lower)) return false;
  actions[lower]();
  return true;
}

document.addEventListener("keydown", (event) => {
  // AltGr, which types brackets on many keyboards, comes as ctrl and alt.
  const altGr = event.getModifierState("AltGraph");
  if (event.defaultPrevented || ((event.ctrlKey || event.altKey || event.metaKey) && !altGr)) return;
  if (event.target.matches("select, textarea")) return;
  if (pressed(event)) event.preventDefault();
});

// A click on a button leaves the focus on its region, so that keys keep the meaning that they have there. The keyboard
// can still reach each button, where space and enter press it.
document.addEventListener("mousedown", (event) => {
  const button = event.target.closest("button"), region = button?.closest("[data-keys]");
  if (!region) return;
  event.preventDefault();
  region.focus({ preventScroll: true });
});

document.body.classList.toggle("several", several);
showAbout();
initComparison();
initTransport();
initTimeline();
initBottleneck();
initViewer();
initAbx();
initMini();
initOverview();
audio.listeners.push(show);
for (const id of page.samples.length ? [] : ["player", "abx", "viewer"]) byId(id).hidden = true;
if (page.samples.length) {
  const first = page.samples[0].tracks.findIndex((track) => track.kind === "output");
  audio.track = Math.max(first, 0);
  choose(page.samples[0]);
  tickClock();
}
initInSet();
initNumbers();
initTraining();
initProvenance();

// The state, to look at in the browser's console and for tests.
window.mlquant = {
  page, audio, viewer, bottleneck, abx, clips,
  // The clock is read once, as it may go on between two readings.
  state: (clock = audio.context?.currentTime ?? 0) => ({
    sample: audio.sample.name, track: audio.track, label: audio.sample.tracks[audio.track].label, playing: playing(), time: position(clock),
    clock, started: audio.started, loop: audio.loop, frame: viewer.frame,
    curves: viewer.curves.map((curve) => ({ id: curve.id, name: curve.name, x: Array.from(curve.x), y: Array.from(curve.y) })),
    gains: audio.nodes.map(({ volume }) => volume.gain.value),
  }),
  latents: (frame) => Array.from(decoderInput(audio.sample, frame)),
  searchVq: (vector, choice) => searchVq(Float32Array.from(vector), bottleneck.codebooks.slice(0, bottleneck.choices[choice].stages), bottleneck.choices[choice].mbest),
  array, chance, level: (track) => gain(track) * rms(track),
};
