// The frame viewer: the spectra of the frame at the cursor, in dB against kHz, and its numbers.

const Y_KHZ = Float64Array.from({ length: 79 }, (_, i) => 0.05 * (i + 1));
const B_KHZ = Float64Array.from(page.b_kHz);
const FRAME = 80; // samples
const CENTRE = 79; // output sample that frame 0 is centred on
const FRAME_COLUMNS = Object.keys(page.columns).filter((name) => page.columns[name].frames);
const APART = 5; // least distance in frames of two that j jumps to

const viewer = { frame: -1, weighted: false, hidden: new Set(["others"]), jumps: [], jump: -1 };

const frames = () => audio.sample.y.shape[0];
const frameAt = (time) => clamp(Math.round((time * RATE - CENTRE) / FRAME), 0, frames() - 1);
const timeOf = (frame) => (frame * FRAME + CENTRE) / RATE;
const outputs = () => audio.sample.tracks.filter((track) => track.kind === "output");

// The output that the viewer is about: the one that plays, or, for a published wav, the output of the same name.
function viewedOutput() {
  const track = audio.sample.tracks[abx.trial ? 0 : audio.track];
  return track.kind !== "published" ? track
    : outputs().find((o) => o.experiment === track.experiment && o.index === track.index && o.tag === track.tag);
}

// The harmonics of a frame: {x in kHz, y in dB}. sample.starts holds the place of each frame's first one in A_dB.
function harmonics(sample, frame) {
  const count = array(sample.harmonics.count), Wo = array(sample.harmonics.Wo)[frame];
  sample.starts ??= count.reduce((starts, n) => [...starts, starts.at(-1) + n], [0]);
  const y = array(sample.harmonics.A_dB).subarray(sample.starts[frame], sample.starts[frame] + count[frame]);
  return { x: Array.from(y, (_, m) => ((m + 1) * Wo * RATE) / (2 * Math.PI) / 1000), y };
}

// The weight in dB of the loss at each point of a target in dB; null where the network's loss has no weight.
function lossWeight(network, target, energy) {
  if (!network || network.settings.loss !== "wloss") return null;
  const level = network.target === "y" || network.settings.norm ? energy : 0;
  const exponent = -(1 - network.settings.gamma);
  return Array.from(target, (v) => 20 * Math.log10(Math.min(10 ** (exponent * ((v - level) / 20)), 30)));
}

function networkOf(track, target) {
  const experiment = page.experiments[track.experiment];
  const output = experiment?.outputs.find((o) => o.index === track.index && o.tag === track.tag);
  return (output?.networks ?? []).map((name) => experiment.networks[name]).find((n) => n && n.target === target);
}

// The style of an output's curve. That of b_hat is dashed, with dots between the dashes where the output has dashes of its own.
function styled(track, kind) {
  const style = styleOf(track);
  return kind === "b_hat" ? { ...style, dash: style.dash ? `${style.dash} 1 3` : "5 3" } : style;
}

// The voiced frame with the most energy, or, without voiced ones, the frame with the most.
function loudest(sample) {
  const energy = array(sample.energy), voiced = array(sample.voiced);
  let found = 0;
  const better = (i, j) => Boolean(voiced[i]) === Boolean(voiced[j]) ? energy[i] > energy[j] : Boolean(voiced[i]);
  for (let i = 1; i < energy.length; i++) if (better(i, found)) found = i;
  return found;
}

// The frame at the cursor; the loudest one until somebody plays the sample or chooses a position in it.
const viewedFrame = () => (playing() || audio.placed ? frameAt(position()) : loudest(audio.sample));

// Curves of a frame: {id, name, x, y, ...} as chart() takes them.
function curvesOf(frame) {
  const sample = audio.sample, current = viewedOutput(), y = row(sample.y, frame), b = row(sample.b, frame);
  const curves = [
    { id: "A", name: "harmonics A_m", ...harmonics(sample, frame), colour: "var(--faint)", mark: "stems" },
    { id: "y", name: "y", x: Y_KHZ, y, colour: "currentColor" },
    { id: "b", name: "b", x: B_KHZ, y: b, colour: "var(--quiet)", mark: "both", dash: "2 3" },
  ];
  outputs().forEach((track) => {
    const mine = track === current;
    for (const [kind, x] of [["y_hat", Y_KHZ], ["b_hat", B_KHZ]]) {
      const values = row(track[kind], frame);
      if (values) curves.push({ id: mine ? "mine" : "others", kind, track, name: `${kind} ${track.label}`, x, y: values, ...styled(track, kind), wide: mine, mark: kind === "b_hat" ? "both" : "line" });
    }
  });
  const made = live(sample, frame);
  if (made) curves.push({ id: "live", name: `live ${bottleneck.target}_hat`, x: bottleneck.target === "y" ? Y_KHZ : B_KHZ, y: made, colour: "var(--live)", mark: "both", wide: true });
  if (viewer.weighted) {
    for (const [target, values, x, energy] of [["y", y, Y_KHZ, array(sample.energy)[frame]], ["b", b, B_KHZ, array(sample.energy_b)[frame]]]) {
      const network = networkOf(current ?? {}, target) ?? outputs().map((track) => networkOf(track, target)).find(Boolean);
      const weight = lossWeight(network, values, energy);
      if (weight) curves.push({ id: "weight", name: `loss weight of ${target}, gamma ${network.settings.gamma}`, x, y: weight, colour: target === "y" ? "var(--c3)" : "var(--c5)", dash: "1 3" });
    }
  }
  return curves;
}

function drawFrame(force = false) {
  const frame = viewedFrame();
  if (frame === viewer.frame && !force) return;
  viewer.frame = frame;
  const all = curvesOf(frame), visible = all.filter((curve) => !viewer.hidden.has(curve.id));
  // The axis changes in coarse steps, so that it stays still while the cursor moves.
  const values = visible.filter((c) => c.id !== "A").flatMap((curve) => Array.from(curve.y)).filter(Number.isFinite);
  const high = Math.ceil((Math.max(...values, 20) + 2) / 10) * 10, low = Math.floor((Math.min(...values, high - 40) - 2) / 20) * 20;
  viewer.curves = visible;
  chart(byId("spectrum"), visible, { x: { label: "kHz", range: [0, 4] }, y: { label: "dB", range: [low, high] }, height: 330, title: `spectra of frame ${frame}` });
  showNumbers(frame);
  bottleneck.show?.(audio.sample, frame);
}

function showNumbers(frame) {
  const sample = audio.sample, Wo = array(sample.Wo)[frame];
  const facts = [
    ["frame", `${frame} of ${frames()}`], ["time", `${number(timeOf(frame), 3)} s`],
    ["F0", `${number((Wo * RATE) / (2 * Math.PI), 1)} Hz`], ["Wo", `${number(Wo, 4)} rad`],
    ["voiced", array(sample.voiced)[frame] ? "yes" : "no"], ["energy of y", `${number(array(sample.energy)[frame], 1)} dB`],
  ];
  const value = (track, name) => (track[name] ? array(track[name])[frame] : undefined);
  const current = viewedOutput();
  byId("frame").replaceChildren(
    el("dl", { class: "facts" }, facts.map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, text)))),
    el("table", {},
      el("caption", { class: "hidden" }, "distortion of this frame"),
      el("thead", {}, el("tr", {}, ["index", ...FRAME_COLUMNS.map((name) => page.columns[name].label)].map((h, i) => el("th", { scope: "col", class: i ? "number" : null }, h)))),
      el("tbody", {}, outputs().map((track) => el("tr", { "aria-current": track === current ? "true" : null },
        el("th", { scope: "row" }, el("i", { class: "swatch", style: `color: ${styleOf(track).colour}` }), ` ${track.label} `, el("small", {}, wordsOf(track).short)),
        FRAME_COLUMNS.map((name) => el("td", { class: "number" }, number(value(track, name)))))))));
}

// Go to a frame, with the sound paused.
function goTo(frame) {
  stop();
  seek(timeOf(clamp(frame, 0, frames() - 1)));
}

// Frames of the output that plays, or else of all outputs, by distortion, largest first. None is nearer than APART to a
// worse one.
function findJumps() {
  const current = viewedOutput();
  const tracks = current?.sd_dB2 ? [current] : outputs();
  const value = (frame) => Math.max(...tracks.map((track) => (track.sd_dB2 ? array(track.sd_dB2)[frame] : NaN)).filter(Number.isFinite), -Infinity);
  const ranked = Array.from({ length: frames() }, (_, frame) => [frame, value(frame)]).filter(([, v]) => v > -Infinity).sort((a, b) => b[1] - a[1]);
  const taken = [];
  for (const [frame] of ranked) if (taken.every((other) => Math.abs(other - frame) >= APART)) taken.push(frame);
  return taken;
}

// Jump by +1 or -1 in the list of the frames with most distortion.
function jump(by) {
  const of = `${audio.sample.name} ${audio.track}`;
  if (viewer.jumpsOf !== of) Object.assign(viewer, { jumpsOf: of, jumps: findJumps(), jump: by > 0 ? -1 : 0 });
  if (!viewer.jumps.length) return;
  viewer.jump = (viewer.jump + by + viewer.jumps.length) % viewer.jumps.length;
  goTo(viewer.jumps[viewer.jump]);
  const rank = viewer.jump ? `${viewer.jump + 1} of ${viewer.jumps.length}` : "the worst";
  say(`frame ${viewer.frame}, by distortion ${rank}`);
}

function toggleWeight() {
  viewer.weighted = !viewer.weighted;
  press(byId("weight"), viewer.weighted);
  drawFrame(true);
  if (viewer.weighted && !viewer.curves.some((curve) => curve.id === "weight")) say("no weight: no network was trained with wloss");
}

function initViewer() {
  const button = (text, key, onclick, attributes = {}) => el("button", { type: "button", onclick, ...attributes }, `${text} `, el("kbd", {}, key));
  byId("frame-buttons").append(
    button("previous", "b", () => goTo(viewer.frame - 1)), button("next", "n", () => goTo(viewer.frame + 1)),
    button("worst", "j", () => jump(1)), button("loss weight", "w", toggleWeight, { id: "weight", "aria-pressed": "false" }), button("leave", "q", () => enter("player")));
  const names = { A: "harmonics", y: "y", b: "b", mine: "of what plays", others: "of other indices", live: "live" };
  byId("viewer").querySelector("h2").after(quiet("The spectrum of one frame of 10 ms, in dB. Its harmonics are what the vocoder measures; y samples them every 50 Hz, b at 20 mel-spaced "
    + "frequencies, and y_hat and b_hat are what networks and quantisers make of these. It opens on the loudest voiced frame; then it follows the cursor."));
  scrolling(byId("frame-box"));
  byId("curves").append(...Object.entries(names).filter(([id]) => id !== "live" || bottleneck.layers).map(([id, name]) => {
    const made = toggle(name, !viewer.hidden.has(id), () => {
      viewer.hidden.has(id) ? viewer.hidden.delete(id) : viewer.hidden.add(id);
      press(made, !viewer.hidden.has(id));
      drawFrame(true);
    }, { "data-curve": id });
    return made;
  }));
  bottleneck.listeners.push(() => drawFrame(true));
  redrawn(byId("spectrum"), () => drawFrame(true));
}
