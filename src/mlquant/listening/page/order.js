// What the page holds, and the order in which a rater gets it. The name of a rater gives the seed: the same name gets
// the same trials in the same order, with the same letters for the sounds.

const bytesOf = (id) => {
  const place = document.getElementById(id), text = atob(place.textContent);
  place.remove();
  return Uint8Array.from({ length: text.length }, (_, i) => text.charCodeAt(i));
};

const page = JSON.parse(new TextDecoder().decode(bytesOf("data")));

{
  const { buffer } = bytesOf("blob");
  let at = 0;
  for (const sample of page.samples) {
    for (const stimulus of sample.stimuli) {
      stimulus.pcm = new Int16Array(buffer, at, sample.length);
      at += 2 * sample.length;
    }
  }
}

const LETTERS = "ABCDEFGHIJKL";

// Seed of a rater: the 32-bit FNV-1a hash of the test's seed and the rater's name.
function seedOf(rater) {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(`${page.seed} ${rater}`)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash;
}

// A generator of numbers from 0 to 1 (mulberry32).
function randomFrom(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

function shuffled(list, random) {
  const result = [...list];
  for (let i = result.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [result[i], result[j]] = [result[j], result[i]];
  }
  return result;
}

// All trials, in the order of the page.
const allTrials = page.samples.flatMap((sample) => {
  const output = (index) => sample.stimuli.find((one) => one.stimulus === "output" && one.index === index);
  const groups = page.kind === "mushra" ? [sample.stimuli] : page.pairs.map((pair) => pair.map(output));
  return groups.map((stimuli) => ({ sample, stimuli }));
});
const numberOfTrials = Math.min(page.trials ?? allTrials.length, allTrials.length);

// The trials of a rater, and one more to practise with. Each has its sample and its stimuli; the first stimulus is A.
function trialsOf(rater) {
  const random = randomFrom(seedOf(rater));
  const order = shuffled(allTrials, random).map((trial) => ({ ...trial, stimuli: shuffled(trial.stimuli, random) }));
  const last = order.at(-1);
  return { trials: order.slice(0, numberOfTrials), practice: { ...last, stimuli: shuffled(last.stimuli, random) } };
}
