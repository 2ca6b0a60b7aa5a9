// The live bottleneck: latents of the current frame, with offsets, quantised and with noise, go through the decoder.

const bottleneck = { ...page.bottleneck, noise: 0, vector: [], offsets: [], choice: -1, listeners: [] };

// The decoder: dense layers with ReLU between them.
function dense(layers, input) {
  let x = Float64Array.from(input);
  layers.forEach((layer, n) => {
    const W = array(layer.W), b = array(layer.b), [outputs, inputs] = layer.W.shape;
    const next = new Float64Array(outputs);
    for (let o = 0, w = 0; o < outputs; o++) {
      let sum = b[o];
      for (let i = 0; i < inputs; i++) sum += W[w++] * x[i];
      next[o] = n < layers.length - 1 && sum < 0 ? 0 : sum;
    }
    x = next;
  });
  return x;
}

// M-best search of one vector through the codebooks of all stages, as quantisers/vq.py: the indices of the best path.
function searchVq(vector, codebooks, mbest) {
  let paths = [{ residual: Float32Array.from(vector), indices: [] }];
  codebooks.forEach((place, stage) => {
    const codebook = array(place), [entries, k] = place.shape;
    const keep = stage === codebooks.length - 1 ? 1 : mbest;
    let best = []; // sorted by error; where errors are equal, the entry found first comes first
    for (const path of paths) {
      const residual = path.residual;
      for (let entry = 0, at = 0; entry < entries; entry++, at += k) {
        let error = 0;
        for (let i = 0; i < k; i++) error += (residual[i] - codebook[at + i]) ** 2;
        if (best.length === keep && error >= best[keep - 1].error) continue;
        let place = best.length;
        while (place && best[place - 1].error > error) place--;
        best.splice(place, 0, { error, entry, path });
        if (best.length > keep) best.pop();
      }
    }
    paths = best.map(({ entry, path }) => ({
      residual: path.residual.map((v, i) => v - codebook[entry * k + i]),
      indices: [...path.indices, entry],
    }));
  });
  return paths[0].indices;
}

function decodeVq(indices, codebooks) {
  const sum = new Float32Array(codebooks[0].shape[1]);
  indices.forEach((entry, stage) => row(codebooks[stage], entry).forEach((v, i) => (sum[i] += v)));
  return sum;
}

// The latents of a frame's vector as the file holds them; null where there are none.
function latentsOf(sample, frame) {
  const known = bottleneck.layers && Object.hasOwn(bottleneck.latents, sample.name); // a name may be "constructor"
  return known ? row(bottleneck.latents[sample.name], Math.floor(frame / bottleneck.ncat)) : null;
}

// Whether a quantiser is smoothed by the decoder, and the page knows what was sent of a sample.
const smooths = (choice, sample) => Boolean(choice?.smooth) && Object.hasOwn(choice.sent, sample.name);

// A vector [d] as a decoder gets it that takes a share of both neighbours, as quantisers/vq.py smooths. The neighbours
// are those that the run sent, and so is the vector itself while nothing is moved. A moved one is searched anew, for the
// entries that lower the error of itself and of both neighbours most.
function smoothedVq(sample, place, moved, choice, codebooks) {
  const latents = bottleneck.latents[sample.name], indices = choice.sent[sample.name], last = latents.shape[0] - 1, s = choice.smooth;
  const decoded = new Map();
  const sent = (i) => {
    const at = clamp(i, 0, last);
    if (!decoded.has(at)) decoded.set(at, decodeVq(row(indices, at), codebooks));
    return decoded.get(at);
  };
  const smooth = (i) => sent(i).map((v, e) => (1 - 2 * s) * v + s * (sent(i - 1)[e] + sent(i + 1)[e]));
  bottleneck.indices = Array.from(row(indices, place));
  if (bottleneck.offsets.some(Boolean)) {
    const missing = (i) => {
      if (i < 0 || i > last) return moved.map(() => 0);
      const made = smooth(i);
      return (i === place ? moved : row(latents, i)).map((v, e) => v - made[e]);
    };
    const [before, own, after] = [place - 1, place, place + 1].map(missing);
    const wanted = sent(place).map((v, e) => v + (s * (before[e] + after[e]) + (1 - 2 * s) * own[e]) / (2 * s ** 2 + (1 - 2 * s) ** 2));
    bottleneck.indices = searchVq(wanted, codebooks, choice.mbest);
    decoded.set(place, decodeVq(bottleneck.indices, codebooks));
  }
  return smooth(place);
}

// The input of the decoder: latents plus offsets, quantised if the reader chose a quantiser, plus noise.
function decoderInput(sample, frame) {
  const latents = latentsOf(sample, frame);
  if (!latents) return null;
  const moved = latents.map((v, i) => v + bottleneck.offsets[i]);
  const choice = bottleneck.choices[bottleneck.choice];
  bottleneck.indices = null;
  let held = moved;
  if (choice) {
    const codebooks = bottleneck.codebooks.slice(0, choice.stages);
    if (smooths(choice, sample)) held = smoothedVq(sample, Math.floor(frame / bottleneck.ncat), moved, choice, codebooks);
    else {
      bottleneck.indices = searchVq(moved, codebooks, choice.mbest);
      held = decodeVq(bottleneck.indices, codebooks);
    }
  }
  const deviation = Math.fround(Math.sqrt(bottleneck.noise));
  return held.map((v, i) => v + deviation * bottleneck.vector[i]);
}

// b_hat or y_hat of a frame in dB, as the decoder in this page makes it.
function live(sample, frame) {
  const held = decoderInput(sample, frame);
  if (!held) return null;
  const output = dense(bottleneck.layers, held), width = output.length / bottleneck.ncat;
  const start = (frame % bottleneck.ncat) * width;
  // The output of a network on normalised vectors gets the energy back: that of y for y_hat, of b for b_hat.
  const energy = bottleneck.norm ? array(bottleneck.target === "y" ? sample.energy : sample.energy_b)[frame] : 0;
  return output.slice(start, start + width).map((v) => 20 * v + energy);
}

// A new noise vector, standard normal.
function drawNoise() {
  bottleneck.vector = bottleneck.vector.map(() => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random()));
  bottleneckChanged();
}

const bottleneckChanged = () => bottleneck.listeners.forEach((listener) => listener());

function initBottleneck() {
  const box = byId("bottleneck");
  box.append(el("h3", { id: "bottleneck-title" }, "Live bottleneck"));
  if (!bottleneck.layers) {
    box.append(el("p", { class: "quiet" }, `Not here: ${bottleneck.reason}.`));
    return;
  }
  const d = bottleneck.d;
  bottleneck.vector = Array(d).fill(0);
  bottleneck.offsets = Array(d).fill(0);
  const hat = bottleneck.target === "y" ? "y_hat" : "b_hat";
  const noise = el("output", {});
  const writeNoise = () => (noise.value = `${bottleneck.noise.toPrecision(2)} ${bottleneck.noise === bottleneck.noise_var && bottleneck.noise ? "(as in training)" : ""}`);
  // The scale is logarithmic, four decades up to 1; the lowest step means no noise.
  const variance = (step) => (step === 0 ? 0 : 10 ** ((step - 80) / 20));
  const slider = el("input", { type: "range", id: "noise", min: 0, max: 80, step: 1, value: 0, oninput: () => {
    bottleneck.noise = variance(+slider.value);
    if (bottleneck.vector.every((v) => v === 0)) drawNoise();
    writeNoise();
    bottleneckChanged();
  } });
  const trained = bottleneck.noise_var ? el("button", { type: "button", onclick: () => {
    slider.value = Math.round(80 + 20 * Math.log10(bottleneck.noise_var));
    bottleneck.noise = bottleneck.noise_var;
    if (bottleneck.vector.every((v) => v === 0)) drawNoise();
    writeNoise();
    bottleneckChanged();
  } }, `variance in training (${bottleneck.noise_var})`) : null;
  const latents = Array.from({ length: d }, (_, i) => {
    const value = el("output", {});
    const input = el("input", { type: "range", id: `latent-${i}`, min: -2, max: 2, step: 0.01, value: 0, oninput: () => {
      bottleneck.offsets[i] = +input.value;
      bottleneckChanged();
    } });
    return { input, value, element: el("label", {}, el("span", {}, `l${i + 1}`), input, value) };
  });
  const options = [["-1", "none"], ...bottleneck.choices.map((choice, i) =>
    [String(i), `${choice.bits} bits, ${choice.stages} ${choice.stages === 1 ? "stage" : "stages"}, ${choice.mbest} best${choice.smooth ? ", smoothed" : ""} (as index ${choice.index})`])];
  const vq = select("VQ", options, (value) => {
    bottleneck.choice = +value;
    bottleneckChanged();
  }, { id: "vq" });
  const status = el("p", { class: "quiet", "aria-live": "off" });
  box.append(
    el("p", { class: "quiet" }, `The decoder of ${bottleneck.network} runs in this page. Its ${hat} of the current frame is the curve "live" above.`),
    el("div", { class: "row" }, el("label", {}, "noise variance ", slider, " ", noise), trained,
      el("button", { type: "button", id: "draw", onclick: drawNoise }, "new noise ", el("kbd", {}, "space")), vq,
      el("button", { type: "button", onclick: () => {
        bottleneck.offsets.fill(0);
        bottleneck.vector.fill(0);
        bottleneck.noise = 0;
        slider.value = 0;
        bottleneck.choice = -1;
        vq.querySelector("select").value = "-1";
        latents.forEach(({ input }) => (input.value = 0));
        writeNoise();
        bottleneckChanged();
      } }, "reset")),
    el("fieldset", { class: "latents" }, el("legend", {}, "offset of each latent, and its value in the decoder"), latents.map((l) => l.element)),
    status);
  writeNoise();
  bottleneck.show = (sample, frame) => {
    const held = decoderInput(sample, frame);
    latents.forEach(({ value }, i) => (value.value = held ? number(held[i], 3) : "–"));
    const choice = bottleneck.choices[bottleneck.choice], smooth = smooths(choice, sample) ? choice.smooth : 0, percent = (share) => number(100 * share, 0);
    const sent = bottleneck.offsets.some(Boolean) ? "searched anew for the moved latents between neighbours that stay" : "as they were sent";
    const smoothed = smooth ? `, ${sent}; the decoder takes ${percent(1 - 2 * smooth)} % of their vector and ${percent(smooth)} % of each neighbour` : "";
    const words = bottleneck.indices ? ` Codebook entries ${bottleneck.indices.join(", ")}${smoothed}.` : "";
    status.textContent = held ? `Noise before the decoder, ${d} elements, of standard deviation ${number(Math.sqrt(bottleneck.noise), 3)}.${words}` : "No latents of this sample.";
  };
}
