"""Losses of the networks, on vectors of dB/20 (log10 of the amplitude)."""

from __future__ import annotations

import torch

DB2 = 400.0
"""Mean squared error of dB/20 vectors times this is spectral distortion in dB^2."""
WEIGHT_LIMIT = 30.0
"""Largest weight of `wloss`; larger ones are clipped to it."""


def sd(estimate: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean squared error [] of log amplitudes [F, n]."""
    return torch.mean((estimate - target) ** 2)


def target_weight(target: torch.Tensor, gamma: float) -> torch.Tensor:
    """Weight [F, n] of `wloss`: 10^(-(1-gamma) y) of the target, at most 30; 1 for gamma = 1."""
    return torch.clamp(10.0 ** (-(1.0 - gamma) * target), max=WEIGHT_LIMIT)


def wloss(estimate: torch.Tensor, target: torch.Tensor, gamma: float) -> torch.Tensor:
    """Weighted squared error [] of linear amplitudes.

    The error of strong harmonics counts as in linear amplitude (gamma = 1) or nearly as in log amplitude
    (gamma = 0). The weight comes from the target, not from the network's own output.
    """
    return torch.mean(((10.0**estimate - 10.0**target) * target_weight(target, gamma)) ** 2)
