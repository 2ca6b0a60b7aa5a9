"""Quantisation of superframes: matrices of several frames, predicted from the one before, by multi-stage codebooks.

A superframe of T frames of k elements is one vector of T k elements: its frames' cosine transform over time (see
`vocoder.superframes`), less the mean of training. A matrix predicts it from the quantised vector before, and codebooks
in stages quantise what is left. All of a decoder's past is in its last vector, and what is lost fades, as no
eigenvalue of the matrix is above `STABLE`. The search keeps the best paths over time (M-algorithm: Anderson and Mohan,
"Sequential coding algorithms", IEEE Trans. Commun. 32, 1984) and decides a fixed number of superframes later.

Matrix prediction with vector quantisation is described in Gersho and Gray, "Vector Quantization and Signal
Compression", 1992, chapter 13.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from mlquant.core.errors import InputError, progress
from mlquant.quantisers import vq

STABLE = 0.95  # largest magnitude of an eigenvalue of a predictor
_RIDGE = 1e-3  # of ridge regression, as a share of the mean variance
_SEGMENTS = 256  # stretches of training that are searched at once
_PATHS = 4  # kept over time in training
_WAIT = 4  # superframes that its decisions wait for
_ROUNDS = 3  # of training in a closed loop
_REFITS = 2  # of all codebooks to the same choices
_GROUP = 16  # values that are looked at together where the least are sought


@dataclass(frozen=True)
class Superframes:
    """A quantiser: `mean` [K], `predictor` [K, K], and codebooks [M, K] of the stages, float32."""

    mean: np.ndarray
    predictor: np.ndarray
    codebooks: list[np.ndarray]

    @property
    def bits(self) -> int:
        """Bits of a superframe."""
        return sum(len(codebook).bit_length() - 1 for codebook in self.codebooks)

    @cached_property
    def energies(self) -> list[np.ndarray]:
        """Half the squared norm of each entry, [M] a stage."""
        return [np.square(codebook).sum(axis=1) / 2 for codebook in self.codebooks]


class Search:
    """A search that takes a superframe at a time, of S streams at once, and returns what is decided.

    `push` takes vectors [S, K] and returns the indices [S, stages] of the superframe `wait` before, or None as long as
    there is none. `rest` returns those still to come, a list of [S, stages].
    """

    def __init__(self, quantiser: Superframes, paths: int, wait: int, streams: int = 1):
        if paths < 1 or wait < 0:
            raise InputError(f"paths, wait: found {paths}, {wait}, expected at least 1 and 0")
        self.quantiser, self.paths, self.wait = quantiser, paths, wait
        stages = len(quantiser.codebooks)
        self.state: np.ndarray = np.zeros((streams, 1, len(quantiser.mean)), np.float32)
        self.cost: np.ndarray = np.zeros((streams, 1), np.float32)
        self.tails: np.ndarray = np.zeros((streams, 1, 0, stages), np.int32)

    def push(self, vectors: np.ndarray) -> np.ndarray | None:
        q, S = self.quantiser, len(vectors)
        centred = (vectors - q.mean).astype(np.float32)
        predicted = self.state @ q.predictor.T
        left = centred[:, None] - predicted  # [S, paths, K]
        cost = self.cost + np.square(left).sum(axis=2)
        parent = np.broadcast_to(np.arange(left.shape[1]), cost.shape)
        chosen: np.ndarray = np.zeros((*cost.shape, 0), np.int32)
        for codebook, energy in zip(q.codebooks, q.energies, strict=True):
            M, P = len(codebook), left.shape[1]
            # |r - c|^2 = |r|^2 - 2 (r.c - |c|^2 / 2), where |r|^2 is in the cost.
            offered = left.reshape(S * P, -1) @ codebook.T
            offered -= energy
            offered *= -2
            offered = (offered.reshape(S, P, M) + cost[:, :, None]).reshape(S, P * M)
            best = _least(offered, self.paths)
            cost = np.take_along_axis(offered, best, axis=1)
            order = np.argsort(cost, axis=1, kind="stable")
            best, cost = np.take_along_axis(best, order, axis=1), np.take_along_axis(cost, order, axis=1)
            of, entry = best // M, best % M
            left = np.take_along_axis(left, of[:, :, None], axis=1) - codebook[entry]
            parent = np.take_along_axis(parent, of, axis=1)
            chosen = np.take_along_axis(chosen, of[:, :, None], axis=1)
            chosen = np.concatenate([chosen, entry[:, :, None].astype(np.int32)], axis=2)
        self.state = centred[:, None] - left
        self.tails = np.take_along_axis(self.tails, parent[:, :, None, None], axis=1)
        self.tails = np.concatenate([self.tails, chosen[:, :, None]], axis=2)
        self.cost = cost - cost[:, :1]
        if self.tails.shape[2] <= self.wait:
            return None
        decided = self.tails[:, 0, 0]
        # Paths of another past end here.
        self.cost = np.where((self.tails[:, :, 0] == decided[:, None]).all(axis=2), self.cost, np.float32(np.inf))
        self.tails = self.tails[:, :, 1:]
        return decided

    def rest(self) -> list[np.ndarray]:
        return [self.tails[:, 0, i] for i in range(self.tails.shape[2])]


def _least(values: np.ndarray, few: int) -> np.ndarray:
    """Places [S, few] of the least values in each row [S, n], in any order; of all, where there are no more.

    They are in those groups whose own least values are the least: to look at these first is five times as fast.
    """
    S, n = values.shape
    few = min(few, n)
    if n % _GROUP or few * _GROUP >= n:
        return np.argpartition(values, few - 1, axis=1)[:, :few]
    apart = n // _GROUP
    groups = values.reshape(S, _GROUP, apart).min(axis=1)
    near = np.argpartition(groups, few - 1, axis=1)[:, :few, None] + apart * np.arange(_GROUP)
    near = near.reshape(S, -1)
    best = np.argpartition(np.take_along_axis(values, near, axis=1), few - 1, axis=1)[:, :few]
    return np.take_along_axis(near, best, axis=1)


class Decoder:
    """The decoder of one stream: `push` takes indices [stages] of a superframe, None if it is lost, to a vector [K]."""

    def __init__(self, quantiser: Superframes):
        self.quantiser = quantiser
        self.state: np.ndarray = np.zeros(len(quantiser.mean), np.float32)

    def push(self, indices: np.ndarray | None) -> np.ndarray:
        q = self.quantiser
        self.state = q.predictor @ self.state
        if indices is not None:
            for codebook, entry in zip(q.codebooks, indices, strict=True):
                self.state = self.state + codebook[entry]
        return self.state + q.mean


def search(quantiser: Superframes, vectors: np.ndarray, paths: int, wait: int) -> np.ndarray:
    """Indices [n, stages] of vectors [n, K], as a stream gives them."""
    return _searched(quantiser, vectors[None], paths, wait)[0]


def _searched(quantiser: Superframes, streams: np.ndarray, paths: int, wait: int) -> np.ndarray:
    """Indices [S, n, stages] of S streams [S, n, K]."""
    searching = Search(quantiser, paths, wait, len(streams))
    with threadpool_limits(1, user_api="blas"):  # with more threads sums may be others
        found = [searching.push(streams[:, i]) for i in range(streams.shape[1])]
    return np.stack([one for one in found if one is not None] + searching.rest(), axis=1)


def quantised(quantiser: Superframes, streams: Sequence[np.ndarray], paths: int, wait: int) -> list[np.ndarray]:
    """The vectors [n, K] of streams as a decoder has them: the fast way, for training.

    Many stretches are searched at once, each of which begins without a past.
    """
    length = 200
    padded = [np.pad(one, ((0, -len(one) % length), (0, 0)), "edge") for one in streams if len(one)]
    stretches = np.concatenate(padded).reshape(-1, length, len(quantiser.mean))
    found = []
    for start in range(0, len(stretches), _SEGMENTS):
        part = stretches[start : start + _SEGMENTS]
        found.append(_decoded(quantiser, _searched(quantiser, part, paths, wait)) + quantiser.mean)
    together = np.concatenate(found).reshape(-1, len(quantiser.mean))
    starts = np.cumsum([0, *(len(one) + -len(one) % length for one in streams)])
    return [together[start : start + len(one)] for start, one in zip(starts, streams, strict=False)]


def _decoded(quantiser: Superframes, indices: np.ndarray) -> np.ndarray:
    """Vectors [S, n, K], less the mean, of the indices [S, n, stages] of S streams."""
    S, n = indices.shape[:2]
    hat = vq.decode(indices.reshape(S * n, -1), quantiser.codebooks).reshape(S, n, -1)
    for i in range(1, n):
        hat[:, i] += hat[:, i - 1] @ quantiser.predictor.T
    return hat


def decode(quantiser: Superframes, indices: np.ndarray, lost: np.ndarray | None = None) -> np.ndarray:
    """Vectors [n, K] float32 of indices [n, stages]; one that is `lost` [n] bool is its prediction alone."""
    decoder = Decoder(quantiser)
    gone = np.zeros(len(indices), bool) if lost is None else lost
    return np.stack([decoder.push(None if lost else row) for row, lost in zip(indices, gone, strict=True)])


def stable(predictor: np.ndarray) -> np.ndarray:
    """The predictor, scaled down if its largest eigenvalue has a magnitude above `STABLE`."""
    largest = np.abs(np.linalg.eigvals(predictor)).max()
    return predictor * min(1.0, STABLE / largest) if largest else predictor


def fitted_predictor(vectors: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Matrix [K, K] of ridge regression that predicts vectors [n, K] from those before them [n, K], stable."""
    vectors, before = vectors.astype(np.float64), before.astype(np.float64)
    gram = before.T @ before
    gram += np.eye(len(gram)) * (_RIDGE * max(np.trace(gram) / len(gram), 1e-12))
    return stable(np.linalg.solve(gram, before.T @ vectors).T).astype(np.float32)


@dataclass(frozen=True)
class Stage:
    """How the codebook of a stage is trained: its entries, a power of two, and `stop` and `seed` as of `vq.train`."""

    size: int
    stop: float = 1e-3
    seed: int = 1


def train(
    streams: Sequence[np.ndarray], stages: Sequence[Stage], *, predict: bool = True, threads: int = 1
) -> Superframes:
    """Train a quantiser with so many stages on streams of vectors [n, K].

    The predictor is first fitted to the vectors as they are. Then, a few times, the vectors are quantised in a closed
    loop, predictor and codebooks are fitted to what a decoder has. Raises InputError for too few vectors.
    """
    count, most = sum(map(len, streams)), max(stage.size for stage in stages)
    if count < most:
        raise InputError(f"superframes: {count} to train on, expected at least {most}, the entries of a codebook")
    mean = np.concatenate(list(streams)).mean(axis=0, dtype=np.float64).astype(np.float32)
    stretches = _stretches(streams)
    centred = stretches - mean
    K = len(mean)
    now, before = centred[:, 1:].reshape(-1, K), centred[:, :-1].reshape(-1, K)
    predictor = fitted_predictor(now, before) if predict else np.zeros((K, K), np.float32)
    codebooks, left = list[np.ndarray](), now - before @ predictor.T
    for stage in stages:
        options: dict[str, Any] = {"seed": stage.seed, "stop": stage.stop, "threads": threads}
        beam = codebooks and vq.train_beam(left, codebooks, stage.size, mbest=_PATHS, **options)
        codebooks.append((beam or vq.train(left, stage.size, **options)).codebook)
    quantiser = Superframes(mean, predictor, codebooks)
    for number in range(1, _ROUNDS + 1):
        indices = _searched(quantiser, stretches, _PATHS, _WAIT)
        hat = _decoded(quantiser, indices)
        progress(f"closed loop {number}: variance {np.square(centred - hat).mean():.5f}", done=number == _ROUNDS)
        past = hat[:, :-1].reshape(-1, K)
        if predict:
            predictor = fitted_predictor(now, past)
        left = now - past @ predictor.T
        codebooks = _refitted(left, quantiser.codebooks, indices[:, 1:].reshape(len(now), -1))
        quantiser = Superframes(mean, predictor, codebooks)
    return Superframes(mean, predictor, [ordered(codebook) for codebook in quantiser.codebooks])


def _refitted(left: np.ndarray, codebooks: list[np.ndarray], chosen: np.ndarray) -> list[np.ndarray]:
    """Codebooks whose entries are the means of what the other stages leave of the vectors [n, K] that chose them.

    `chosen` [n, stages] are the indices. An entry that none chose stays where it is.
    """
    codebooks = [*codebooks]
    for _ in range(_REFITS):
        for stage, codebook in enumerate(codebooks):
            others = sum((c[chosen[:, i]] for i, c in enumerate(codebooks) if i != stage), np.zeros_like(left))
            sums = vq._sums((left - others).astype(np.float64), chosen[:, stage], len(codebook))
            counts = np.bincount(chosen[:, stage], minlength=len(codebook))[:, None]
            codebooks[stage] = np.where(counts > 0, sums / np.maximum(counts, 1), codebook).astype(np.float32)
    return codebooks


def _stretches(streams: Sequence[np.ndarray]) -> np.ndarray:
    """Stretches [S, n, K] of equal length that hold nearly all of the vectors of streams [n, K]."""
    total = sum(map(len, streams))
    length = int(np.clip(total // _SEGMENTS, 8, 1000))
    cut = [one[i : i + length] for one in streams for i in range(0, len(one) - length + 1, length)]
    if not cut:
        raise InputError(f"superframes: none of the streams has {length} superframes, expected one that has")
    return np.stack(cut)


def ordered(codebook: np.ndarray) -> np.ndarray:
    """The entries [M, K] in an order in which indices that differ in a low bit are alike, M a power of two.

    They are halved again and again along the first principal component of each part, so that the first bit tells the
    most, and a wrong bit costs the less, the lower it is.
    """
    if len(codebook) < 2:
        return codebook
    centred = (codebook - codebook.mean(axis=0)).astype(np.float64)
    axis = np.linalg.svd(centred, full_matrices=False)[2][0]
    axis *= np.sign(axis[np.argmax(np.abs(axis))])
    order = np.argsort(centred @ axis, kind="stable")
    half = len(codebook) // 2
    return np.concatenate([ordered(codebook[order[:half]]), ordered(codebook[order[half:]])])
