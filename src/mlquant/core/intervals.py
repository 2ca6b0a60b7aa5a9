"""Intervals of 95 % of means, by the bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

RESAMPLES = 1000


def sample_interval(
    values: np.ndarray, seed: int = 1, statistic: Callable[[np.ndarray], np.ndarray] = lambda mean: mean
) -> tuple[float, float] | None:
    """Return the interval of 95 % of a statistic of the mean of samples' values [S] or [S, K]; None for S < 3."""
    if len(values) < 3:
        return None
    chosen = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    observed = statistic(values.mean(axis=0, keepdims=True))[0]
    return widened(statistic(values[chosen].mean(axis=1)), float(observed), len(values), 1)


def speaker_interval(values: Iterable[float], speakers: Iterable[str], seed: int = 1) -> tuple[float, float] | None:
    """Return the interval of 95 % of the mean of values [U], whose speakers [U] are drawn; None for fewer than 3.

    It is a bootstrap over clusters of unlike size: each draw's mean is that of all utterances of the speakers drawn.
    Field and Welsh, 2007.
    """
    values, speakers = np.asarray(values, float), np.asarray(speakers, str)
    resampled = resampled_means(values[:, None], speakers, seed)[:, 0]
    return widened(resampled, float(values.mean()), len(np.unique(speakers)), 1)


def resampled_means(values: np.ndarray, speakers: np.ndarray, seed: int = 1) -> np.ndarray:
    """Return the means [RESAMPLES, K] of values [U, K] for each draw of the speakers [U]; all columns share the draws.

    A value that is NaN counts for nothing; a mean is NaN where the speakers drawn have no other value.
    """
    names, of = np.unique(speakers, return_inverse=True)
    known = np.isfinite(values)
    sums, counts = np.zeros((2, len(names), values.shape[1]))
    np.add.at(sums, of, np.where(known, values, 0.0))
    np.add.at(counts, of, known)
    drawn = np.random.default_rng(seed).integers(len(names), size=(RESAMPLES, len(names)))
    numbered = drawn + len(names) * np.arange(RESAMPLES)[:, None]
    times = np.bincount(numbered.ravel(), minlength=numbered.size).reshape(drawn.shape).astype(float)
    with np.errstate(invalid="ignore"):
        return (times @ sums) / (times @ counts)


def widened(resampled: np.ndarray, observed: float, drawn: int, groups: int) -> tuple[float, float] | None:
    """Return the middle 95 % of resampled values, widened around the observed one by the t distribution.

    Otherwise an interval from few values is too narrow: with five samples it would miss the truth in 15 % of cases.
    There are `drawn` values in `groups`; each group takes one from the degrees of freedom.
    """
    # The page loads no scipy where no interval is asked for.
    from scipy.special import ndtri, stdtrit

    freedom = drawn - groups
    if freedom < 2 or not len(resampled):
        return None
    wider = stdtrit(freedom, 0.975) / ndtri(0.975) * np.sqrt(drawn / freedom)
    low, high = observed + wider * (np.percentile(resampled, [2.5, 97.5]) - observed)
    return float(low), float(high)
