"""The measures of an experiment's outputs: of their features, and of the speech itself.

Perceptual measures are those of the packages pesq (an optional extra) and pystoi; `library` calls these. Each measure
is of one output of one sample; `experiments.tables` computes the means over samples. The names of the measures, and
what their readers need to know, are in `columns`.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import scipy.signal

from mlquant.core import errors, records
from mlquant.core.records import FRAME, SAMPLE_RATE
from mlquant.measures import library
from mlquant.measures.columns import OF_PUBLISHED, REFERENCES, SLOW_MEASURES
from mlquant.vocoder import features

DELAY = 209
"""Every output comes so many samples after its source: 50 by the high pass, 159 from a frame's centre to its sound."""
CREST_BANDS = {"low": (300, 1000), "mid": (1000, 2000), "high": (2000, 3700)}  # Hz
_BAND = (200, 3700)  # Hz, the band of the spectral distortion
_SHORTEST_STOI = 3200  # samples: 30 frames, before silent ones are left out
_LONGEST_PESQ = 19 * SAMPLE_RATE  # samples; the library has room for 50 utterances, each of 0.39 s with its pause
_LONGEST_STOI = 60 * SAMPLE_RATE  # samples; the library takes 2 MB a second
_STEP = 1280  # samples, of the places of cuts
_LOWEST_PESQ = 0.999 + 4 / (1 + math.exp(1.4945 * 0.5 + 4.6607))  # of the lowest score, -0.5, by ITU-T P.862.1
_OF_SILENCE = {"visqol": 1.0, "speaker_similarity": 0.0}
_ACTIVE = 40.0  # dB; a frame that is quieter than the loudest one by more than this counts as silence


def measure_sample(record: dict) -> tuple[list[dict], list[dict], list[str]]:
    """Return the measures of each row of a sample, the values of some frame by frame, as lists [F], and what is empty.

    `record["references"]` names the files of the source speech, of the outputs `original` and `ideal_y`, and of the
    `features` b; `record["rows"]` holds the outputs. Each measure has the name of its column (see `columns`); one that
    an output does not have is left out, or None. A measure that is None because its library failed is told in the
    log, and in the texts that are returned, with its file. Raises InputError for files that do not fit each other.
    """
    named = record["references"]
    feature_records = records.read_features(named["features"])
    compared_with = {name: records.read_speech(named[name], silent=name != "source") for name in REFERENCES.values()}
    crest = crest_dB(compared_with["source"], feature_records, 0)
    rows, frames, empty = [], [], dict[str, None]()
    for row in record["rows"]:
        measures, per_frame, failed = _measure_output(row, feature_records, compared_with, crest)
        rows.append(measures)
        frames.append(per_frame)
        for file, reference, measure, reason in failed:
            text = failure(measure, reason, f"{row['files'][file]} against {named[reference]}")
            if text not in empty:
                errors.log(f"{text}; left empty")
            empty[text] = None
    return rows, frames, [*empty]


def failure(measure: str, reason: library.Failed, of: str) -> str:
    """Return one line that says why a measure of a file has no value, or of all files if its library is missing."""
    everything = isinstance(reason, library.Missing)
    return errors.one_line(f"{measure.upper().replace('_', ' ')}{'' if everything else f' of {of}'}: {reason}")


def not_installed() -> list[str]:
    """Return a line for each slow measure whose package was looked for and is not there, which is no fault."""
    by = {"wer": "heard"}
    reasons = {name: library.known(by.get(name, name)) for name in SLOW_MEASURES}
    return [failure(name, reason, "") for name, reason in reasons.items() if isinstance(reason, library.Missing)]


def _measure_output(
    row: dict, feature_records: np.ndarray, compared_with: dict, crest: list
) -> tuple[dict, dict, list[tuple]]:
    """Return the measures of a row, those of its frames, and for each that failed file, reference, measure, reason."""
    named, bits = row["files"], row["bits_per_frame"]
    result = {name: row[name] for name in ("index", "tag", "bits_per_frame", "frame_ms")}
    result["bit_per_s"] = 1000 * bits / row["frame_ms"] if bits else None
    if bits and "y_hat" in named and not row.get("interval_ms"):
        # The features are quantised every 10 ms. These are the rates if all vectors, or every second one, are sent.
        result |= {"bit_per_s_10ms": result["bit_per_s"], "bit_per_s_20ms": result["bit_per_s"] / 2}
    frames = {"voiced": (feature_records[:, 21] > 0).astype(int).tolist()}
    for measure in (_of_spectra, _of_b, _of_latents):
        measures, per_frame = measure(named, feature_records)
        result |= measures
        frames |= per_frame
    speech = records.read_speech(named["wav"], silent=True)
    measures, frames["lsd_dB"], failed = _of_speech(speech, row["delay"], compared_with, feature_records, crest)
    result |= measures
    if "published" in named:
        published = records.read_speech(named["published"], silent=True)
        for prefix, name in OF_PUBLISHED.items():
            behind = row["delay"] + DELAY if name == "source" else row["delay"]
            of_published, _, failures = audio_measures(compared_with[name], published, behind)
            result |= {f"{prefix}{measure}": value for measure, value in of_published.items()}
            failed += [("published", name, *one) for one in failures.items()]
    # The address of an array may change the last bit of a library's sums. Nine digits are the same in every run.
    rounded = {name: float(f"{value:.9g}") if isinstance(value, float) else value for name, value in result.items()}
    return rounded, frames, failed


def _of_spectra(named: dict, records: np.ndarray) -> tuple[dict, dict]:
    """Spectral distortion of y_hat against y in dB^2, 200 to 3700 Hz, and how many frames are above 2 and 4 dB."""
    if "y_hat" not in named:
        return {}, {}
    return of_spectra(*_pair(named, "y", "y_hat", 79), records[:, 21] > 0)


def of_spectra(y: np.ndarray, y_hat: np.ndarray, voiced: np.ndarray) -> tuple[dict, dict]:
    """The same for spectra [F, 79]; `voiced` [F] says which frames are."""
    distortion = features.spectral_distortion(y, y_hat)
    result = {"frames": len(y), "sd_dB2": _mean(distortion), "sd_voiced_dB2": _mean(distortion[voiced])}
    for limit in (2, 4):
        above = distortion > limit**2
        result |= {f"frames_above_{limit}dB": int(above.sum()), f"share_above_{limit}dB": _mean(above)}
    return result, {"sd_dB2": _listed(distortion)}


def _of_b(named: dict, _: np.ndarray) -> tuple[dict, dict]:
    """Spectral distortion of b_hat against b in dB^2, over its 20 values."""
    if "b_hat" not in named:
        return {}, {}
    return of_b(*_pair(named, "b", "b_hat", 22))


def of_b(b: np.ndarray, b_hat: np.ndarray) -> tuple[dict, dict]:
    """The same for features [F, 22]."""
    distortion = np.mean((b[:, :20] - b_hat[:, :20]) ** 2, axis=1, dtype=np.float64)
    return {"sd_b_dB2": _mean(distortion)}, {"sd_b_dB2": _listed(distortion)}


def _of_latents(named: dict, _: np.ndarray) -> tuple[dict, dict]:
    """Mean squared error of an element of the quantised latents."""
    if "l_hat" not in named:
        return {}, {}
    return of_latents(*_pair(named, "l", "l_hat", 1))


def of_latents(latents: np.ndarray, quantised: np.ndarray) -> tuple[dict, dict]:
    """The same for latents [n, k]."""
    return {"latent_mse": _mean((latents - quantised) ** 2)}, {}


def _of_speech(
    speech: np.ndarray, delay: int, compared_with: dict, records: np.ndarray, crest: list
) -> tuple[dict, list, list[tuple]]:
    """Return the measures of speech [N] int16 against every reference, its LSD of each frame, and what failed.

    The speech comes `delay` samples later than the vocoder's outputs do. The LSD is against the source, in dB; `crest`
    is that of the source.
    """
    result, per_frame, failed, source = {}, {}, [], compared_with["source"]
    for prefix, name in REFERENCES.items():
        behind = delay + DELAY if name == "source" else delay
        measures, per_frame[name], failures = audio_measures(compared_with[name], speech, behind)
        result |= {f"{prefix}{measure}": value for measure, value in measures.items()}
        failed += [("wav", name, *one) for one in failures.items()]
    slow, failures = slow_measures(SLOW_MEASURES, source, speech, delay + DELAY)
    result |= slow
    failed += [("wav", "source", *one) for one in failures.items()]
    of_this = crest_dB(speech, records, delay + DELAY)
    for band, of_speech, of_source in zip(CREST_BANDS, of_this, crest, strict=True):
        known = of_speech is not None and of_source is not None
        result[f"crest_{band}_dB"] = of_speech - of_source if known else None
    result |= {"delay_samples": delay + DELAY, "delay_measured": measured_delay(source, speech)}
    lsd = np.full(len(records), np.nan)
    known = per_frame["source"][: len(lsd)]
    lsd[: len(known)] = known
    return result, _listed(lsd), failed


def audio_measures(
    reference: np.ndarray, speech: np.ndarray, delay: int
) -> tuple[dict[str, float | None], np.ndarray, dict[str, library.Failed]]:
    """Return PESQ-NB, STOI, ESTOI and the mean LSD in dB of speech against a reference, the LSD [F] of each frame, and
    why a measure has no value, for each whose library failed.

    Both are [N] int16. The speech comes `delay` samples after the reference; PESQ finds the delay by itself. A measure
    is None where it is not defined: for speech that is too short or silent.
    """
    lsd = log_spectral_distance(np.pad(reference, (delay, 0))[: len(speech)], speech)
    aligned = _aligned(reference, speech, delay)
    result: dict[str, float | None] = {}
    failed: dict[str, library.Failed] = {}
    for name in library.MEASURES:
        try:
            result[name] = pesq_nb(reference, speech) if name == "pesq" else _stoi(name, *aligned)
        except library.Failed as reason:
            result[name], failed[name] = None, reason
    return result | {"lsd_dB": _mean(lsd[np.isfinite(lsd)])}, lsd, failed


def slow_measures(
    wanted: Iterable[str], reference: np.ndarray, speech: np.ndarray, delay: int, transcript: str = ""
) -> tuple[dict[str, float | None], dict[str, library.Failed]]:
    """Return the `wanted` ones of SLOW_MEASURES of speech against its source, and why one has no value.

    Both are [N] int16. The speech comes `delay` samples after the source. Where the words of the source are known, the
    error rate against this `transcript` comes with the one against what is heard in the source.
    """
    result: dict[str, float | None] = {}
    failed: dict[str, library.Failed] = {}
    source, speech = _aligned(reference, speech, delay)
    for name in wanted:
        try:
            if name == "wer":
                heard = _heard(speech.tobytes())
                result["wer"] = word_error_rate(_heard(source.tobytes()), heard)
                result["wer_transcript"] = word_error_rate(words(transcript), heard)
            else:
                result[name] = _over_stretches(name, source, speech, _LONGEST_PESQ, silent=_OF_SILENCE[name])
        except library.Failed as reason:
            result[name], failed[name] = None, reason
    return result, failed


@lru_cache(maxsize=8)  # the source is heard once for all outputs
def _heard(speech: bytes) -> list[str]:
    """Return the words that a recogniser hears in 16-bit speech, cut into stretches where it is long."""
    samples = np.frombuffer(speech, np.int16)
    if not samples.any():
        return []
    parts = [samples[start:end] for start, end in stretches(samples, _LONGEST_PESQ)]
    return [word for part in parts if part.any() for word in words(library.measured("heard", part, part))]


def words(text: str) -> list[str]:
    """Return the words of a text in small letters, without punctuation."""
    return re.findall(r"\w+(?:'\w+)*", text.lower())


def word_error_rate(said: list[str], heard: list[str]) -> float | None:
    """Return the least number of words to insert, leave out or change in `heard`, as a share of those said.

    None where nothing was said. It is the distance of Levenshtein, 1966.
    """
    if not said:
        return None
    distances = [*range(len(heard) + 1)]
    for i, word in enumerate(said, 1):
        before, distances[0] = distances[0], i
        for j, other in enumerate(heard, 1):
            changed = before + (word != other)
            before = distances[j]
            distances[j] = min(changed, before + 1, distances[j - 1] + 1)
    return distances[-1] / len(said)


def pesq_nb(reference: np.ndarray, speech: np.ndarray) -> float | None:
    """PESQ-NB of speech [N] int16 against a reference [N] int16, over the shorter length; None where not defined.

    PESQ is made for 8 to 20 s. Of more than 19 s it is the mean over stretches of 8 to 19 s (see `stretches`), each
    weighted by how long the reference speaks in it; where the speech is silent meanwhile, the lowest PESQ counts.
    Raises library.Failed when the library does.
    """
    length = min(len(reference), len(speech))
    return _over_stretches("pesq", reference[:length], speech[:length], _LONGEST_PESQ, silent=_LOWEST_PESQ)


def _stoi(name: str, reference: np.ndarray, speech: np.ndarray) -> float | None:
    """STOI or ESTOI of speech [N] int16; of more than 60 s the mean over stretches, as PESQ."""
    if len(reference) < _SHORTEST_STOI:
        return None
    return _over_stretches(name, reference, speech, _LONGEST_STOI, silent=0.0)


def _over_stretches(name: str, reference: np.ndarray, speech: np.ndarray, longest: int, silent: float) -> float | None:
    """Return a measure of the library over all stretches; `silent` is that of a stretch in which the speech is not."""
    if not (reference.any() and speech.any()):
        return None
    if len(reference) <= longest:
        return library.measured(name, reference, speech)
    active, values, weights = _active(reference), [], []
    for start, end in stretches(reference, longest):
        # Without speech in the reference a library may take its noise for speech.
        if weight := active[start // FRAME : end // FRAME].sum():
            heard = speech[start:end]
            value = library.measured(name, reference[start:end], heard) if heard.any() else silent
            if value is not None:
                values.append(value)
                weights.append(weight)
    return float(np.average(values, weights=weights)) if values else None


def stretches(speech: np.ndarray, longest: int) -> list[tuple[int, int]]:
    """Return where speech [N] begins and ends in stretches of `longest` samples at most, and 0.42 of that at least.

    Each cut is in the quietest place, so that no word is cut where there are pauses, and at a multiple of 160 ms, as
    PESQ takes speech in steps of these: of regular speech it would change with the place of the cut by 0.2.
    """
    shortest, most = round(0.42 * longest), round(0.85 * longest)
    # The energy of 0.4 s around each place: its least is in the middle of a pause.
    energy = np.convolve(_energy(speech), np.ones(41), "same")[:: _STEP // FRAME]
    cuts = [0]
    while (rest := len(speech) - cuts[-1]) > longest:
        first, last = (-(-(cuts[-1] + far) // _STEP) for far in (shortest, min(most, rest - shortest)))
        cuts.append(_STEP * (first + int(energy[first:last].argmin())))
    return list(zip(cuts, [*cuts[1:], len(speech)], strict=True))


def _energy(speech: np.ndarray) -> np.ndarray:
    """Return the energy [N // 80] of each frame of speech [N]."""
    whole = speech[: len(speech) // FRAME * FRAME].reshape(-1, FRAME).astype(np.float64)
    return np.square(whole).sum(axis=1)


def _active(speech: np.ndarray) -> np.ndarray:
    """Return which frames [N // 80] of speech [N] are not silence."""
    energy = _energy(speech)
    return energy > energy.max() * 10 ** (-_ACTIVE / 10)


def with_noise(speech: np.ndarray, snr_dB: float) -> np.ndarray:
    """Return speech [N] int16 with white Gaussian noise, `snr_dB` below the mean power of the frames that are active.

    The seed of the noise is the checksum of the speech: each utterance has noise of its own, always the same one, of
    another level for another ratio. What does not fit into 16 bits is clipped. Silence stays as it is.
    """
    active = _active(speech) if len(speech) >= FRAME else np.zeros(0, bool)
    power = _energy(speech)[active].mean() / FRAME if active.any() else 0.0
    seed = hashlib.sha256(speech.astype("<i2").tobytes()).digest()
    draw = np.random.default_rng(int.from_bytes(seed, "big")).standard_normal(len(speech))
    noisy = speech + np.sqrt(power) * 10 ** (-snr_dB / 20) * draw
    return np.clip(np.rint(noisy), -32768, 32767).astype(np.int16)


def _aligned(reference: np.ndarray, speech: np.ndarray, delay: int) -> tuple[np.ndarray, np.ndarray]:
    """Return reference and speech without the delay, cut to the same length."""
    length = max(min(len(reference), len(speech) - delay), 0)
    return reference[:length], speech[delay : delay + length]


def measured_delay(reference: np.ndarray, speech: np.ndarray) -> int | None:
    """Return the delay in samples, up to 50 ms either way, at which reference and speech agree best.

    Their envelopes (300 to 3400 Hz) are compared, because a vocoder that does not keep the phases of its source makes
    waveforms of another shape.
    """
    length, most = min(len(reference), len(speech)), SAMPLE_RATE // 20
    if length <= 2 * most or not (reference[:length].any() and speech[:length].any()):
        return None
    ours, theirs = (_envelope(signal[:length], (300, 3400)) for signal in (speech, reference))
    smooth = scipy.signal.butter(2, 60, fs=SAMPLE_RATE, output="sos")
    ours, theirs = (scipy.signal.sosfiltfilt(smooth, signal - signal.mean()) for signal in (ours, theirs))
    match = scipy.signal.correlate(ours, theirs, method="fft")[length - 1 - most : length + most]
    return int(match.argmax()) - most


def _envelope(signal: np.ndarray, band: tuple[float, float]) -> np.ndarray:
    """Magnitude [N] of the analytic signal in a band in Hz."""
    sos = scipy.signal.butter(4, band, "bandpass", fs=SAMPLE_RATE, output="sos")
    return np.abs(scipy.signal.hilbert(scipy.signal.sosfiltfilt(sos, signal.astype(np.float64))))


def log_spectral_distance(reference: np.ndarray, speech: np.ndarray) -> np.ndarray:
    """Return the log spectral distance [F] in dB of frames of 10 ms, 200 to 3700 Hz; NaN where the reference is silent.

    It is the root of the mean squared difference of the spectra in dB. A spectrum is of 256 samples under a Hann window
    around the last sample but one of a frame. Noise of 1 LSB is added to both, so that silence stays finite. Gray and
    Markel, 1976.
    """
    window = scipy.signal.windows.hann(256, sym=False)
    bins = np.arange(129) * SAMPLE_RATE / 256
    band = (bins >= _BAND[0]) & (bins <= _BAND[1])
    spectra = []
    length = min(len(reference), len(speech)) // FRAME * FRAME
    for signal in (reference[:length], speech[:length]):
        padded = np.pad(signal.astype(np.float64), (128 - (FRAME - 1), 256))
        frames = np.lib.stride_tricks.sliding_window_view(padded, 256)[::FRAME][: length // FRAME]
        spectra.append(np.abs(np.fft.rfft(frames * window, axis=1)[:, band]) ** 2 + np.square(window).sum())
    difference = 10 * np.log10(spectra[0] / spectra[1])
    level = 10 * np.log10(spectra[0].sum(axis=1))
    distance = np.sqrt(np.mean(difference**2, axis=1))
    return np.where(level > level.max() - _ACTIVE, distance, np.nan)


def crest_dB(signal: np.ndarray, records: np.ndarray, delay: int) -> list[float | None]:
    """Peak to RMS ratio in dB of the envelope within a pitch cycle, a mean over voiced frames for each of CREST_BANDS.

    `records` [F, 22] give Wo and voicing of the source. The signal [N] comes `delay` samples after the source; in the
    vocoder's output, whose delay is DELAY, frame i comes out at sample 80*i + 79.
    A voice with all the energy of a cycle in one pulse, because all phases start together, has a high ratio: it sounds
    buzzy. Quiet cycles are left out. All values are None for a signal without voiced frames.
    """
    centre = FRAME * np.arange(len(records)) + FRAME - 1 - DELAY + delay
    period = np.rint(2 * np.pi / np.maximum(records[:, 20], np.float32(1e-6))).astype(int)
    start = centre - period // 2
    whole = (records[:, 21] > 0) & (start >= 0) & (start + period <= len(signal))
    start, period = start[whole, None], period[whole, None]
    if not len(start):
        return [None] * len(CREST_BANDS)
    place = np.arange(period.max())
    inside = place < period
    result = []
    for band in CREST_BANDS.values():
        cycles = np.where(inside, _envelope(signal, band)[np.where(inside, start + place, 0)], 0.0)
        rms = np.sqrt(np.sum(cycles**2, axis=1) / period[:, 0])
        loud = rms > rms.max() * 10 ** (-_ACTIVE / 20)
        result.append(_mean(20 * np.log10(cycles.max(axis=1)[loud] / rms[loud])))
    return result


def _pair(named: dict, name: str, name_hat: str, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Read two files of features, or of latents, that must have the same number of records."""
    read = records.read_features if width == 22 else lambda path: records.read_f32(path, width)
    array, estimate = read(named[name]), read(named[name_hat])
    if len(array) != len(estimate):
        raise errors.InputError(
            f"{named[name_hat]}: {len(estimate)} records, expected {len(array)} as in {named[name]}"
        )
    return array, estimate


def _mean(values: np.ndarray) -> float | None:
    mean = float(np.mean(values, dtype=np.float64)) if len(values) else math.nan
    return mean if math.isfinite(mean) else None


def _listed(values: np.ndarray) -> list[float | None]:
    """Return values [F] for JSON, with six digits each and None for NaN."""
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values]
