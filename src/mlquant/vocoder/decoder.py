"""The vocoder's decoder: speech from spectra y_hat, and from the pitch, numbers of harmonics and voicing of a model.

Amplitudes and minimum phase filters come from `features`, phases and speech from `synthesis`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from mlquant.core.errors import InputError
from mlquant.core.records import Model
from mlquant.vocoder import features, synthesis
from mlquant.vocoder.features import energy_dB
from mlquant.vocoder.types import Postfilter

_LOUDEST = 600  # dB; spectra of speech stay within 120 dB


def check(y_hat: np.ndarray, frames: int, where: str, model: str) -> None:
    """Raise InputError for a y_hat [F, 79] that does not fit a model of `frames`; `where`, `model` name the files."""
    if len(y_hat) != frames:
        raise InputError(f"{where}: {len(y_hat)} frames, expected {frames} as in {model}")
    if (loudest := abs(y_hat).max()) > _LOUDEST:
        raise InputError(f"{where}: holds {loudest:g} dB, expected at most {_LOUDEST} dB either way")


def postfiltered(y_hat: np.ndarray, factor: float) -> np.ndarray:
    """Return spectra y_hat [F, 79] dB with `factor` times their dynamic range in dB, at the same energy; float64.

    This postfilter raises formants and lowers what lies between them. Raises InputError for a factor that is not above
    0 and at most 2. Source: post_filter_newamp1 of Codec 2, of its mode 700C, which has a factor of 1.5 and
    pre-emphasises its spectra for it, as y is.
    """
    if not 0 < factor <= 2:
        raise InputError(f"postfilter: {factor}, expected above 0 and at most 2")
    spectra = factor * y_hat.astype(np.float64)
    return spectra + (energy_dB(y_hat) - energy_dB(spectra))[:, None]


def decode_in_chunks(
    models: Iterable[Model],
    y_hat: np.ndarray,
    postfilter: float = 1.0,
    keep: Callable[[np.ndarray, np.ndarray], None] = lambda A, H: None,
) -> Iterator[np.ndarray]:
    """Yield speech [80*F] int16, in parts, of y_hat [F, 79] in dB and the F frames of models that follow each other.

    Amplitudes are postfiltered with the factor `postfilter` (see `postfiltered`); phases are those of y_hat itself.
    `keep` is given the amplitudes A [f, 161] and the phase filter H [f, 161] of each model as they are made.
    """

    def filtered() -> Iterator[tuple]:
        start = 0
        for model in models:
            part, start = y_hat[start : start + len(model)], start + len(model)
            spectra = part if postfilter == 1 else postfiltered(part, postfilter)
            A = features.envelope_to_amplitudes(spectra, model.Wo, model.L)
            H = features.envelope_to_phase_filter(part, model.Wo, model.L)
            keep(A, H)
            yield replace(model, A=A), H

    return synthesis.synthesise_in_chunks(synthesis.phase0_in_chunks(filtered()))


def decode(models: Iterable[Model], y_hat: np.ndarray, postfilter: Postfilter = 1.0) -> np.ndarray:
    """Return the same speech as one array."""
    return np.concatenate(list(decode_in_chunks(models, y_hat, postfilter)))
