// Waveform and spectrogram of the track that plays, and the timeline that they share with the cursor and the selection.

const WINDOW = 256; // samples of a spectrogram's frame, 32 ms
const RANGE = 65; // dB from its darkest to its brightest

const hann = Float64Array.from({ length: WINDOW }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * (i + 0.5)) / WINDOW));
const turns = Array.from({ length: WINDOW / 2 }, (_, i) => [Math.cos((2 * Math.PI * i) / WINDOW), -Math.sin((2 * Math.PI * i) / WINDOW)]);
const reversed = Array.from({ length: WINDOW }, (_, i) => {
  let back = 0;
  for (let bit = 1; bit < WINDOW; bit *= 2) back = back * 2 + (i & bit ? 1 : 0);
  return back;
});

// In-place FFT of WINDOW values in bit-reversed order.
function fft(re, im) {
  for (let half = 1; half < WINDOW; half *= 2) {
    for (let k = 0; k < half; k++) {
      const [c, s] = turns[(k * WINDOW) / (2 * half)];
      for (let i = k; i < WINDOW; i += 2 * half) {
        const j = i + half, x = re[j] * c - im[j] * s, y = re[j] * s + im[j] * c;
        re[j] = re[i] - x;
        im[j] = im[i] - y;
        re[i] += x;
        im[i] += y;
      }
    }
  }
}

// Dark blue over red to pale yellow; the brightness alone is enough to read it.
const stops = [[3, 4, 20], [52, 16, 95], [125, 32, 122], [196, 60, 78], [244, 130, 40], [252, 255, 180]];
const palette = Array.from({ length: 256 }, (_, i) => {
  const at = (i / 255) * (stops.length - 1), n = Math.min(Math.floor(at), stops.length - 2);
  return stops[n].map((v, c) => v + (at - n) * (stops[n + 1][c] - v));
});

function spectrogram(pcm, length, columns) {
  const bins = WINDOW / 2, image = new ImageData(columns, bins);
  const re = new Float64Array(WINDOW), im = new Float64Array(WINDOW);
  for (let column = 0; column < columns; column++) {
    const start = Math.round(((column + 0.5) / columns) * length) - WINDOW / 2;
    im.fill(0);
    for (let i = 0; i < WINDOW; i++) {
      // First differences: the same pre-emphasis as in y.
      const n = start + reversed[i];
      re[i] = (n > 0 && n < pcm.length ? pcm[n] - 0.95 * pcm[n - 1] : 0) * hann[reversed[i]];
    }
    fft(re, im);
    for (let bin = 0; bin < bins; bin++) {
      const dB = 10 * Math.log10(re[bin] ** 2 + im[bin] ** 2 + 1);
      const shade = palette[clamp(Math.round(((dB - 48) / RANGE) * 255), 0, 255)];
      image.data.set([...shade, 255], 4 * ((bins - 1 - bin) * columns + column));
    }
  }
  return image;
}

function drawWaveform(canvas, pcm, length) {
  const { width, height } = canvas, drawing = canvas.getContext("2d");
  const most = audio.sample.tracks.reduce((m, track) => array(track.audio).reduce((a, v) => Math.max(a, Math.abs(v)), m), 1);
  drawing.clearRect(0, 0, width, height);
  drawing.fillStyle = getComputedStyle(canvas).color;
  for (let x = 0; x < width; x++) {
    let low = 0, high = 0;
    for (let i = Math.floor((x * length) / width); i < Math.min(((x + 1) * length) / width, pcm.length); i++) {
      low = Math.min(low, pcm[i]);
      high = Math.max(high, pcm[i]);
    }
    const top = (0.5 - (0.48 * high) / most) * height, end = (0.5 - (0.48 * low) / most) * height;
    drawing.fillRect(x, top, 1, Math.max(end - top, 1));
  }
}

function drawSpectrogram(canvas, pcm, length) {
  const drawing = canvas.getContext("2d");
  const image = spectrogram(pcm, length, Math.min(canvas.width, 1000));
  const small = document.createElement("canvas");
  [small.width, small.height] = [image.width, image.height];
  small.getContext("2d").putImageData(image, 0, 0);
  drawing.drawImage(small, 0, 0, canvas.width, canvas.height);
  // The labels of kHz are on the image: beside it they would make it narrower than the waveform above it.
  drawing.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
  drawing.fillStyle = "#fff";
  for (const kHz of [1, 2, 3]) {
    const y = canvas.height * (1 - kHz / 4);
    drawing.fillRect(0, y, 6 * devicePixelRatio, 1);
    drawing.fillText(`${kHz} kHz`, 9 * devicePixelRatio, y + 4 * devicePixelRatio);
  }
}

const timeline = { box: byId("timeline"), drawn: null };

// Draw a track's waveform and spectrogram, unless they are drawn already.
function drawTimeline(track, force = false) {
  if (timeline.drawn === track && !force) return;
  timeline.drawn = track;
  const pcm = array(track.audio);
  for (const [id, draw] of [["waveform", drawWaveform], ["spectrogram", drawSpectrogram]]) {
    const canvas = byId(id);
    canvas.width = Math.max(1, Math.round(timeline.box.clientWidth * devicePixelRatio));
    canvas.height = Math.max(1, Math.round(canvas.clientHeight * devicePixelRatio));
    draw(canvas, pcm, audio.length);
  }
}

function placeCursor() {
  const time = position(), width = timeline.box.clientWidth;
  byId("cursor").style.transform = `translateX(${((time / duration()) * width).toFixed(2)}px)`;
  const loop = timeline.dragged ?? audio.loop, selection = byId("selection");
  selection.hidden = !loop;
  if (loop) {
    selection.style.left = `${(100 * loop[0]) / duration()}%`;
    selection.style.width = `${(100 * (loop[1] - loop[0])) / duration()}%`;
  }
}

function initTimeline() {
  const box = timeline.box;
  const time = (event) => clamp((event.clientX - box.getBoundingClientRect().left) / box.clientWidth, 0, 1) * duration();
  let from = null;
  box.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    from = { x: event.clientX, time: time(event) };
    box.setPointerCapture(event.pointerId);
  });
  box.addEventListener("pointermove", (event) => {
    if (!from || (!timeline.dragged && Math.abs(event.clientX - from.x) < 5)) return;
    timeline.dragged = [from.time, time(event)].sort((a, b) => a - b);
    placeCursor();
  });
  box.addEventListener("pointerup", (event) => {
    if (!from) return;
    const dragged = timeline.dragged;
    from = timeline.dragged = null;
    if (dragged) {
      setLoop(dragged);
      if (!playing()) seek(dragged[0]);
    } else seek(time(event));
  });
  box.addEventListener("pointercancel", () => { from = timeline.dragged = null; });
  redrawn(box, () => timeline.drawn && drawTimeline(timeline.drawn, true));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => timeline.drawn && drawTimeline(timeline.drawn, true));
}
