// From 8 to 48 kHz. Safari refuses sound below 22,050 Hz, and browsers that take it interpolate each source linearly,
// which leaves images of the spectrum above 4 kHz. The filter is a sinc under a Kaiser window: flat up to 3.8 kHz, images
// more than 70 dB below from 4.2 kHz on. The samples that were there stay as they are.

const UP = 6;
const FULL_RATE = 8000 * UP; // Hz
const SIDE = 48; // samples at 8 kHz on each side of a new one

const upsampling = (() => {
  // Modified Bessel function of order 0, by its series.
  const bessel = (x) => {
    let sum = 1, term = 1;
    for (let k = 1; term > 1e-12 * sum; k++) sum += term *= (x / (2 * k)) ** 2;
    return sum;
  };
  const window = (x) => bessel(7.3 * Math.sqrt(Math.max(0, 1 - (x / SIDE) ** 2))) / bessel(7.3); // 7.3 for 75 dB
  return Array.from({ length: UP - 1 }, (_, phase) => Float32Array.from({ length: 2 * SIDE }, (_, i) => {
    const x = i - SIDE + 1 - (phase + 1) / UP; // from the new sample to the one at 8 kHz
    return (Math.sin(Math.PI * x) / (Math.PI * x)) * window(x);
  }));
})();

// Samples of a sound at 8 kHz, six for each, times `scale`. Before and after the sound there is silence.
function upsampled(pcm, scale = 1) {
  const padded = new Float32Array(pcm.length + 2 * SIDE), result = new Float32Array(pcm.length * UP);
  for (let n = 0; n < pcm.length; n++) padded[n + SIDE] = pcm[n] * scale;
  for (let n = 0; n < pcm.length; n++) {
    result[n * UP] = padded[n + SIDE];
    for (let phase = 0; phase < UP - 1; phase++) {
      const taps = upsampling[phase];
      let sum = 0;
      for (let i = 0; i < 2 * SIDE; i++) sum += taps[i] * padded[n + 1 + i];
      result[n * UP + phase + 1] = sum;
    }
  }
  return result;
}
