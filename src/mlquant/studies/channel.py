"""A channel with additive white Gaussian noise, for latents as analog symbols and for a quantiser's indices as QPSK.

A symbol is two real dimensions: two neighbouring latents, or two bits. Es is the mean energy of the symbols that are
sent, N0/2 the variance of the noise in a dimension, and `snr` the ratio Es/N0. Source: analog.tex of the original.
"""

from __future__ import annotations

import numpy as np
from scipy.special import erfc


def awgn(latents: np.ndarray, N0: float, rng: np.random.Generator) -> np.ndarray:
    """Latents [F, d] as received: [F, d] float32."""
    return (latents + np.sqrt(N0 / 2) * rng.standard_normal(latents.shape)).astype(np.float32)


def snr_in_bandwidth(snr: float, symbols: float, seconds: float, bandwidth: float) -> float:
    """SNR in `bandwidth` Hz of `symbols` sent in `seconds`: of d latents every Ts it is Es*d/(2*N0*Ts*B)."""
    return snr * symbols / (seconds * bandwidth)


def qpsk(indices: np.ndarray, width: int, snr: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Indices [F, stages] of `width` bits as received by hard decisions, and the share of wrong bits."""
    bits = (indices[..., None] >> np.arange(width)) & 1
    # With Gray coding the bits of a symbol of energy 1 are the signs in its two dimensions.
    received = np.sqrt(0.5) * (1 - 2 * bits) + np.sqrt(0.5 / snr) * rng.standard_normal(bits.shape) < 0
    return received @ (1 << np.arange(width)), float(np.mean(received != bits))


def qpsk_bit_error_rate(snr: float) -> float:
    """The share of wrong bits to expect, Q(sqrt(Es/N0))."""
    return 0.5 * float(erfc(np.sqrt(snr / 2)))
