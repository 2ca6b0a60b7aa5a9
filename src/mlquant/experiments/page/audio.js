// The player. All tracks of a sample run together from one start, and a switch between them only changes their gains.
// So a switch does not move the position by a single sample, and the audio clock does not stop for it.

const RATE = 8000; // Hz
const RAMP = 0.008; // s of a change of gain; it is too long for a click and too short to be noticed
const LEAD = 0.03; // s from now to the common start, so that no track starts late

const audio = {
  context: null, // made at the first sound, as browsers allow it only after a key or a click
  sample: null,
  track: 0, // of sample.tracks
  length: 0, // samples at 8 kHz of the longest track
  nodes: [],
  started: null, // context time at which `offset` sounded; null when paused
  offset: 0, // s
  placed: false, // whether somebody has played the sample, or chosen a position in it
  loop: null, // [from, to] in s, the selection
  around: false, // whether the whole sample is repeated when nothing is selected
  levelled: false,
  listeners: [],
};

const notify = () => audio.listeners.forEach((listener) => listener());

const duration = () => audio.length / RATE;
const playing = () => audio.started !== null;
const repeated = () => audio.loop ?? (audio.around ? [0, duration()] : null);

// The position in s. While the player runs, it is that of the sound that is being rendered.
function position() {
  if (!playing()) return audio.offset;
  const at = audio.offset + Math.max(0, audio.context.currentTime - audio.started);
  const loop = repeated();
  if (loop && at >= loop[1] && audio.offset < loop[1]) return loop[0] + ((at - loop[0]) % (loop[1] - loop[0]));
  return Math.min(at, duration());
}

const levels = new WeakMap();

// RMS of a track; full scale is 1.
function rms(track) {
  if (!levels.has(track)) {
    const pcm = array(track.audio);
    let sum = 0;
    for (const v of pcm) sum += v * v;
    levels.set(track, Math.sqrt(sum / pcm.length) / 32768);
  }
  return levels.get(track);
}

// Gain of a track: 1, or, with matched levels, what gives it the RMS of the softest track, so that nothing can clip.
function gain(track) {
  const softest = Math.min(...audio.sample.tracks.map(rms).filter((level) => level > 1e-4));
  return audio.levelled && rms(track) > 1e-4 ? softest / rms(track) : 1;
}

function ensureContext() {
  if (audio.context) return;
  // At the rate that the tracks are brought to, the browser leaves them as they are.
  try {
    audio.context = new AudioContext({ sampleRate: FULL_RATE });
  } catch {
    audio.context = new AudioContext();
  }
}

function buffer(track) {
  const made = audio.context.createBuffer(1, audio.length * UP, FULL_RATE);
  made.copyToChannel(upsampled(array(track.audio), 1 / 32768), 0);
  return made;
}

function choose(sample) {
  const was = playing(), before = audio.sample?.tracks[audio.track];
  stop();
  audio.sample = sample;
  audio.length = Math.max(...sample.tracks.map((track) => track.audio.shape[0]));
  audio.offset = 0;
  audio.placed = false;
  audio.loop = null;
  // Go on with the same output of the new sample, if it has that output.
  if (before) audio.track = Math.max(0, sample.tracks.findIndex((track) => nameOf(track) === nameOf(before)));
  audio.buffers = null;
  if (was) start();
  notify();
}

function stop() {
  if (!playing()) return;
  audio.offset = position();
  audio.started = null;
  for (const { source, volume } of audio.nodes) {
    source.onended = null;
    volume.gain.setTargetAtTime(0, audio.context.currentTime, RAMP / 3);
    source.stop(audio.context.currentTime + 2 * RAMP);
  }
  audio.nodes = [];
}

function start() {
  ensureContext();
  audio.placed = true;
  audio.context.resume();
  audio.buffers ??= audio.sample.tracks.map(buffer);
  if (audio.offset >= duration() - 0.01) audio.offset = 0;
  const loop = repeated();
  if (loop && (audio.offset < loop[0] || audio.offset >= loop[1])) audio.offset = loop[0];
  const when = audio.context.currentTime + LEAD;
  audio.nodes = audio.buffers.map((data, i) => {
    const source = new AudioBufferSourceNode(audio.context, { buffer: data });
    if (loop) Object.assign(source, { loop: true, loopStart: loop[0], loopEnd: loop[1] });
    const volume = new GainNode(audio.context, { gain: i === audio.track ? gain(audio.sample.tracks[i]) : 0 });
    source.connect(volume).connect(audio.context.destination);
    source.start(when, audio.offset);
    return { source, volume };
  });
  audio.started = when;
  audio.nodes[0].source.onended = () => {
    stop();
    audio.offset = 0;
    audio.placed = false;
    notify();
  };
}

function playOrPause() {
  playing() ? stop() : start();
  notify();
}

// Go to a time in s. If the player runs, it goes on from there.
function seek(time) {
  const was = playing();
  stop();
  audio.offset = clamp(time, 0, duration());
  audio.placed = true;
  if (was) start();
  notify();
}

function turnGains() {
  audio.nodes.forEach(({ volume }, i) => {
    volume.gain.setTargetAtTime(i === audio.track ? gain(audio.sample.tracks[i]) : 0, audio.context.currentTime, RAMP / 3);
  });
}

// Switch to another track of the sample, at the present position.
function listenTo(track) {
  if (!(track in audio.sample.tracks)) return;
  audio.track = track;
  turnGains();
  notify();
}

// Repeat a range [from, to] in s, or, with null, none.
function setLoop(loop) {
  const was = playing();
  stop();
  audio.loop = loop && loop[1] - loop[0] >= 0.02 ? loop.map((t) => clamp(t, 0, duration())) : null;
  if (was) start();
  notify();
}

function setAround(around) {
  const was = playing();
  stop();
  audio.around = around;
  if (was) start();
  notify();
}

function setLevelled(levelled) {
  audio.levelled = levelled;
  turnGains();
  notify();
}
