// The player. All sounds of a trial run together from one start and repeat without end; a switch between them only changes
// their gains. So a switch does not move the position by a single sample.

const RAMP = 0.008; // s of a change of gain; it is too long for a click and too short to be noticed
const LEAD = 0.03; // s from now to the common start, so that no sound starts late
const HEARD = 1; // s for which a sound has to be listened to, or as long as it is

const player = {
  context: null, // made at the first sound, as browsers allow it only after a key or a click
  tracks: [], // of the trial: pcm, how often and for how many seconds it was listened to
  track: 0,
  duration: 0, // s
  buffers: null,
  nodes: [],
  started: null, // context time at which `offset` sounded; null when paused
  counted: 0, // context time up to which listening was counted
  offset: 0, // s
  loop: null, // [from, to] in s, the stretch that is repeated
  listeners: [],
};

const notify = () => player.listeners.forEach((listener) => listener());
const playing = () => player.started !== null;
const repeated = () => player.loop ?? [0, player.duration];
const isHeard = (track) => track.seconds >= Math.min(HEARD, player.duration);

// The position in s. While the player runs, it is that of the sound that is being rendered.
function position() {
  if (!playing()) return player.offset;
  const at = player.offset + Math.max(0, player.context.currentTime - player.started), [from, to] = repeated();
  return at < to ? at : from + ((at - from) % (to - from));
}

// Take the sounds of a trial, the reference first; nothing plays yet.
function load(pcms) {
  stop();
  Object.assign(player, { tracks: pcms.map((pcm) => ({ pcm, listens: 0, seconds: 0 })), track: 0, buffers: null, offset: 0, loop: null });
  player.duration = pcms[0].length * UP / FULL_RATE;
}

// Add the time since the last call to the sound that plays.
function count() {
  if (!playing()) return;
  const now = Math.max(player.context.currentTime, player.started);
  player.tracks[player.track].seconds += now - Math.max(player.counted, player.started);
  player.counted = now;
}

function stop() {
  if (!playing()) return;
  count();
  player.offset = position();
  player.started = null;
  for (const { source, volume } of player.nodes) {
    volume.gain.setTargetAtTime(0, player.context.currentTime, RAMP / 3);
    source.stop(player.context.currentTime + 2 * RAMP);
  }
  player.nodes = [];
}

function start() {
  try {
    player.context ??= new AudioContext({ sampleRate: FULL_RATE });
  } catch {
    player.context = new AudioContext();
  }
  player.context.resume();
  player.buffers ??= player.tracks.map(({ pcm }) => {
    const buffer = player.context.createBuffer(1, pcm.length * UP, FULL_RATE);
    buffer.copyToChannel(upsampled(pcm, 1 / 32768), 0);
    return buffer;
  });
  const [from, to] = repeated();
  if (player.offset < from || player.offset >= to) player.offset = from;
  const when = player.context.currentTime + LEAD;
  player.nodes = player.buffers.map((buffer, i) => {
    const source = new AudioBufferSourceNode(player.context, { buffer, loop: true, loopStart: from, loopEnd: to });
    const volume = new GainNode(player.context, { gain: Number(i === player.track) });
    source.connect(volume).connect(player.context.destination);
    source.start(when, player.offset);
    return { source, volume };
  });
  player.started = player.counted = when;
}

function playOrPause() {
  if (playing()) stop();
  else {
    start();
    player.tracks[player.track].listens++;
  }
  notify();
}

// Switch to a sound at the present position; if nothing plays, begin.
function listenTo(track) {
  count();
  const other = player.track !== track;
  player.track = track;
  player.nodes.forEach(({ volume }, i) => volume.gain.setTargetAtTime(Number(i === track), player.context.currentTime, RAMP / 3));
  const began = !playing();
  if (began) start();
  if (began || other) player.tracks[track].listens++;
  notify();
}

// Do something to position or loop; if the player runs, it goes on.
function moved(change) {
  const was = playing();
  stop();
  change();
  if (was) start();
  notify();
}

const seek = (time) => moved(() => (player.offset = clamp(time, 0, player.duration)));

// Repeat a stretch [from, to] in s, or, with null, everything.
function setLoop(loop) {
  moved(() => (player.loop = loop && loop[1] - loop[0] >= 0.1 ? loop.map((time) => clamp(time, 0, player.duration)) : null));
}

// Set one end of the stretch to the present position.
function setEnd(which) {
  const loop = [...repeated()];
  loop[which] = position();
  setLoop(loop[1] > loop[0] ? loop : which ? [0, loop[1]] : [loop[0], player.duration]);
}
