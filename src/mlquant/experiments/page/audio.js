// The player: all tracks of a sample run together from one start, and switching only turns their gains. So a switch is
// of the same sample, and the audio clock never stops for it.

const RATE = 8000; // Hz
const RAMP = 0.008; // s; long enough not to click, short enough to be a switch
const LEAD = 0.03; // s from now to a common start, so that all tracks make it

const audio = {
  context: null, // made at the first sound: browsers want a key or a click before
  sample: null,
  track: 0, // of sample.tracks
  length: 0, // samples at 8 kHz of the longest track
  nodes: [],
  started: null, // context time at which `offset` sounded; null when paused
  offset: 0, // s
  loop: null, // [from, to] in s, the selection
  around: false, // whether the whole sample is repeated when nothing is selected
  levelled: false,
  listeners: [],
};

const tell = () => audio.listeners.forEach((listener) => listener());

const duration = () => audio.length / RATE;
const playing = () => audio.started !== null;
const repeated = () => audio.loop ?? (audio.around ? [0, duration()] : null);

// Position in s; of the sound that is being rendered while it plays.
function position() {
  if (!playing()) return audio.offset;
  const at = audio.offset + Math.max(0, audio.context.currentTime - audio.started);
  const loop = repeated();
  if (loop && at >= loop[1] && audio.offset < loop[1]) return loop[0] + ((at - loop[0]) % (loop[1] - loop[0]));
  return Math.min(at, duration());
}

const levels = new WeakMap();

// RMS of a track, of 1 at full scale.
function rms(track) {
  if (!levels.has(track)) {
    const pcm = array(track.audio);
    let sum = 0;
    for (const v of pcm) sum += v * v;
    levels.set(track, Math.sqrt(sum / pcm.length) / 32768);
  }
  return levels.get(track);
}

// Gain of a track: 1, or when level-matched what brings its RMS to that of the softest, so that nothing can clip.
function gain(track) {
  const softest = Math.min(...audio.sample.tracks.map(rms).filter((level) => level > 1e-4));
  return audio.levelled && rms(track) > 1e-4 ? softest / rms(track) : 1;
}

function ensureContext() {
  if (audio.context) return;
  // At the speech's own rate the browser's resampler comes once, after the mixer; else each source is interpolated
  // linearly in some browsers, and images of the spectrum above 4 kHz are heard.
  try {
    audio.context = new AudioContext({ sampleRate: RATE });
  } catch {
    audio.context = new AudioContext();
  }
}

function buffer(track) {
  const pcm = array(track.audio);
  const made = audio.context.createBuffer(1, audio.length, RATE);
  made.copyToChannel(Float32Array.from(pcm, (v) => v / 32768), 0);
  return made;
}

function choose(sample) {
  const was = playing(), before = audio.sample?.tracks[audio.track];
  stop();
  audio.sample = sample;
  audio.length = Math.max(...sample.tracks.map((track) => track.audio.shape[0]));
  audio.offset = 0;
  audio.loop = null;
  // The same output of the other sample, where it has that.
  if (before) audio.track = Math.max(0, sample.tracks.findIndex((track) => nameOf(track) === nameOf(before)));
  audio.buffers = null;
  if (was) start();
  tell();
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
    tell();
  };
}

function playOrPause() {
  playing() ? stop() : start();
  tell();
}

// Go to a time in s; on from there when it plays.
function seek(time) {
  const was = playing();
  stop();
  audio.offset = clamp(time, 0, duration());
  if (was) start();
  tell();
}

function turnGains() {
  audio.nodes.forEach(({ volume }, i) => {
    volume.gain.setTargetAtTime(i === audio.track ? gain(audio.sample.tracks[i]) : 0, audio.context.currentTime, RAMP / 3);
  });
}

// Hear another track of the sample, from the same sample on.
function listenTo(track) {
  if (!(track in audio.sample.tracks)) return;
  audio.track = track;
  turnGains();
  tell();
}

// Repeat a stretch [from, to] in s; null for none.
function setLoop(loop) {
  const was = playing();
  stop();
  audio.loop = loop && loop[1] - loop[0] >= 0.02 ? loop.map((t) => clamp(t, 0, duration())) : null;
  if (was) start();
  tell();
}

function setAround(around) {
  const was = playing();
  stop();
  audio.around = around;
  if (was) start();
  tell();
}

function setLevelled(levelled) {
  audio.levelled = levelled;
  turnGains();
  tell();
}
