"""Quantisation of superframes: matrices of several frames, predicted from the one before, by multi-stage codebooks.

A superframe of T frames of k elements is one vector of T k elements: its frames' cosine transform over time (see
`vocoder.superframes`), less the mean of training. A matrix predicts it from the quantised vector before, and codebooks
in stages quantise what is left. Where more is known beside of both superframes, as energy, pitch and voicing are of a
shape, a small network tells from that what is added to the prediction, and what share of the matrix' one is taken, from
0 to 1. All of a decoder's past is in its last vector and what it knows of it, and what is lost fades, as no eigenvalue
of the matrix is above `STABLE`. The search keeps the best paths over time (M-algorithm: Anderson and Mohan,
"Sequential coding algorithms", IEEE Trans. Commun. 32, 1984) and decides a fixed number of superframes later.

Matrix prediction with vector quantisation is described in Gersho and Gray, "Vector Quantization and Signal
Compression", 1992, chapter 13.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from mlquant.core.errors import InputError, progress
from mlquant.networks import dense
from mlquant.networks.dense import Layers
from mlquant.quantisers import vq
from mlquant.quantisers.types import BESIDE, STABLE

_RIDGE = 1e-3  # of ridge regression, as a share of the mean variance
_SEGMENTS = 256  # stretches of training that are searched at once
_PATHS = 4  # kept over time in training
_WAIT = 4  # superframes that its decisions wait for
_ROUNDS = 3  # of training in a closed loop
_EPOCHS = 8  # of the first training of the network of what is known beside
_RATE = 1e-3
_BATCH = 512
_REFITS = 2  # of all codebooks to the same choices
_EXCHANGES = 60  # rounds of exchanging entries, at most; 15 are enough for 1024
_WORTH = 1e-5  # share of an entry's distances that an exchange must gain
_GROUP = 16  # values that are looked at together where the least are sought

Choice = Callable[[np.ndarray], int]
"""A function that chooses a path: it takes the vectors of all, and returns the index of one; see `Search`."""


@dataclass(frozen=True)
class Superframes:
    """A quantiser: `mean` [K], `predictor` [K, K], and codebooks [M, K] of the stages, float32.

    The `layers` of a network are there where the prediction also depends on what is known beside: numbers [D].
    """

    mean: np.ndarray
    predictor: np.ndarray
    codebooks: list[np.ndarray]
    layers: Layers = field(default_factory=list)

    @property
    def bits(self) -> int:
        """Bits of a superframe."""
        return sum(len(codebook).bit_length() - 1 for codebook in self.codebooks)

    @cached_property
    def energies(self) -> list[np.ndarray]:
        """Half the squared norm of each entry, [M] a stage."""
        return [np.square(codebook).sum(axis=1) / 2 for codebook in self.codebooks]

    def predicted(self, before: np.ndarray, known_before: np.ndarray | None, known: np.ndarray | None) -> np.ndarray:
        """Predictions [S, P, K] after vectors [S, P, K], all less the mean; `known` [S, D] are the numbers beside."""
        prediction = before @ self.predictor.T
        if known is not None and self.layers:
            share, more = self.told(known if known_before is None else known_before, known)
            prediction = share[:, None] * prediction + more[:, None]
        return prediction

    def told(self, before: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The share [S, 1] of the matrix' prediction that is taken, and what is added [S, K], for numbers [S, D]."""
        value = np.concatenate([before, known], axis=1)
        for i, (W, b) in enumerate(self.layers):
            value = (np.maximum(value, 0) if i else value) @ W.T + b
        return (1 + np.tanh(value[:, :1] / 2)) / 2, value[:, 1:]


class Search:
    """A search that takes a superframe at a time, of S streams at once, and returns what is decided.

    `push` takes vectors [S, K], and what is known beside [S, D]. It returns the indices [S, stages] of the superframe
    `wait` before, or None as long as there is none. `rest` returns those still to come, a list of [S, stages]. It
    decides for the path with the least squared error or, for one stream, that which `choose` returns of the paths. It
    is given their vectors [P, wait + 1, K], the first of which is to be decided on.
    """

    def __init__(self, quantiser: Superframes, paths: int, wait: int, streams: int = 1, choose: Choice | None = None):
        if paths < 1 or wait < 0:
            raise InputError(f"paths, wait: found {paths}, {wait}, expected at least 1 and 0")
        self.quantiser, self.paths, self.wait, self.choose = quantiser, paths, wait, choose
        stages = len(quantiser.codebooks)
        self.state: np.ndarray = np.zeros((streams, 1, len(quantiser.mean)), np.float32)
        self.cost: np.ndarray = np.zeros((streams, 1), np.float32)
        self.tails: np.ndarray = np.zeros((streams, 1, 0, stages), np.int32)
        self.vectors: np.ndarray = np.zeros((1, 0, len(quantiser.mean)), np.float32)  # to choose from
        self.known: np.ndarray | None = None

    def push(self, vectors: np.ndarray, known: np.ndarray | None = None) -> np.ndarray | None:
        q, S = self.quantiser, len(vectors)
        centred = (vectors - q.mean).astype(np.float32)
        predicted, self.known = q.predicted(self.state, self.known, known), known
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
        if self.choose:
            self.vectors = np.concatenate([self.vectors[parent[0]], self.state[0, :, None] + q.mean], axis=1)
        return self._decided() if self.tails.shape[2] > self.wait else None

    def rest(self) -> list[np.ndarray]:
        return [self._decided() for _ in range(self.tails.shape[2])]

    def _decided(self) -> np.ndarray:
        """Indices [S, stages] of the oldest superframe, which is taken off; paths of another past end here."""
        best = 0
        if self.choose:
            alive = np.flatnonzero(np.isfinite(self.cost[0]))
            best = alive[self.choose(self.vectors[alive])]
            self.vectors = self.vectors[:, 1:]
        decided = self.tails[:, best, 0]
        self.cost = np.where((self.tails[:, :, 0] == decided[:, None]).all(axis=2), self.cost, np.float32(np.inf))
        self.tails = self.tails[:, :, 1:]
        return decided


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
    """The decoder of one stream: `push` takes indices [stages] of a superframe, None if it is lost, to a vector [K].

    It also takes what is known beside [D].
    """

    def __init__(self, quantiser: Superframes):
        self.quantiser = quantiser
        self.state: np.ndarray = np.zeros(len(quantiser.mean), np.float32)
        self.known: np.ndarray | None = None

    def push(self, indices: np.ndarray | None, known: np.ndarray | None = None) -> np.ndarray:
        q, row = self.quantiser, None if known is None else known[None]
        self.state, self.known = q.predicted(self.state[None, None], self.known, row)[0, 0], row
        if indices is not None:
            for codebook, entry in zip(q.codebooks, indices, strict=True):
                self.state = self.state + codebook[entry]
        return self.state + q.mean


def search(
    quantiser: Superframes,
    vectors: np.ndarray,
    paths: int,
    wait: int,
    known: np.ndarray | None = None,
    choose: Choice | None = None,
) -> np.ndarray:
    """Indices [n, stages] of vectors [n, K] with what is known beside [n, D], as a stream gives them."""
    return _searched(quantiser, vectors[None], paths, wait, None if known is None else known[None], choose)[0]


def _searched(
    quantiser: Superframes,
    streams: np.ndarray,
    paths: int,
    wait: int,
    known: np.ndarray | None = None,
    choose: Choice | None = None,
) -> np.ndarray:
    """Indices [S, n, stages] of S streams [S, n, K]."""
    searching = Search(quantiser, paths, wait, len(streams), choose)
    beside = [None] * streams.shape[1] if known is None else np.moveaxis(known, 1, 0)
    with threadpool_limits(1, user_api="blas"):  # with more threads sums may be others
        found = [searching.push(own, of_own) for own, of_own in zip(np.moveaxis(streams, 1, 0), beside, strict=True)]
    return np.stack([one for one in found if one is not None] + searching.rest(), axis=1)


def quantised(
    quantiser: Superframes,
    streams: Sequence[np.ndarray],
    paths: int,
    wait: int,
    known: Sequence[np.ndarray] | None = None,
) -> list[np.ndarray]:
    """The vectors [n, K] of streams as a decoder has them: the fast way, for training.

    Many stretches are searched at once, each of which begins without a past.
    """
    length = 200

    def stretched(each: Sequence[np.ndarray]) -> np.ndarray:
        padded = [np.pad(one, ((0, -len(one) % length), (0, 0)), "edge") for one in each if len(one)]
        return np.concatenate(padded).reshape(-1, length, padded[0].shape[1])

    stretches, beside = stretched(streams), None if known is None else stretched(known)
    found = []
    for start in range(0, len(stretches), _SEGMENTS):
        part = slice(start, start + _SEGMENTS)
        of_part = None if beside is None else beside[part]
        indices = _searched(quantiser, stretches[part], paths, wait, of_part)
        found.append(_decoded(quantiser, indices, of_part) + quantiser.mean)
    together = np.concatenate(found).reshape(-1, len(quantiser.mean))
    starts = np.cumsum([0, *(len(one) + -len(one) % length for one in streams)])
    return [together[start : start + len(one)] for start, one in zip(starts, streams, strict=False)]


def _decoded(quantiser: Superframes, indices: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """Vectors [S, n, K], less the mean, of the indices [S, n, stages] of S streams."""
    S, n = indices.shape[:2]
    hat = vq.decode(indices.reshape(S * n, -1), quantiser.codebooks).reshape(S, n, -1)
    before, known_before = np.zeros((S, 1, hat.shape[2]), np.float32), None
    for i in range(n):
        now = None if known is None else known[:, i]
        hat[:, i] += quantiser.predicted(before, known_before, now)[:, 0]
        before, known_before = hat[:, i, None], now
    return hat


def decode(
    quantiser: Superframes, indices: np.ndarray, known: np.ndarray | None = None, lost: np.ndarray | None = None
) -> np.ndarray:
    """Vectors [n, K] float32 of indices [n, stages], and what is known beside [n, D].

    A vector that is `lost` [n] bool is its prediction alone.
    """
    decoder, vectors = Decoder(quantiser), []
    for i, row in enumerate(indices):
        gone = lost is not None and lost[i]
        vectors.append(decoder.push(None if gone else row, None if known is None else known[i]))
    return np.stack(vectors)


def stable(predictor: np.ndarray, most: float = STABLE) -> np.ndarray:
    """The predictor, scaled down if its largest eigenvalue has a magnitude above `most`."""
    largest = np.abs(np.linalg.eigvals(predictor)).max()
    return predictor * min(1.0, most / largest) if largest else predictor


def fitted_predictor(vectors: np.ndarray, before: np.ndarray, most: float = STABLE) -> np.ndarray:
    """Matrix [K, K] of ridge regression that predicts vectors [n, K] from those before them [n, K], stable."""
    vectors, before = vectors.astype(np.float64), before.astype(np.float64)
    gram = before.T @ before
    gram += np.eye(len(gram)) * (_RIDGE * max(np.trace(gram) / len(gram), 1e-12))
    return stable(np.linalg.solve(gram, before.T @ vectors).T, most).astype(np.float32)


@dataclass(frozen=True)
class Stage:
    """How the codebook of a stage is trained: its entries, a power of two, and `stop` and `seed` as of `vq.train`."""

    size: int
    stop: float = 1e-3
    seed: int = 1


def train(
    streams: Sequence[np.ndarray],
    stages: Sequence[Stage],
    *,
    predict: bool = True,
    known: Sequence[np.ndarray] | None = None,
    hidden: Sequence[int] = BESIDE,
    largest: float = STABLE,
    eight_bit: bool = False,
    threads: int = 1,
) -> Superframes:
    """Train a quantiser with so many stages on streams of vectors [n, K], and of what is known beside [n, D].

    The prediction is first fitted to the vectors as they are. Then, a few times, the vectors are quantised in a closed
    loop, prediction and codebooks are fitted to what a decoder has. `hidden` are the widths of the network of what is
    known, no eigenvalue of the matrix is above `largest`, and with `eight_bit` the tables are rounded in each round.
    Raises InputError for too few vectors.
    """
    count, most = sum(map(len, streams)), max(stage.size for stage in stages)
    if count < most:
        raise InputError(f"superframes: {count} to train on, expected at least {most}, the entries of a codebook")
    mean = np.concatenate(list(streams)).mean(axis=0, dtype=np.float64).astype(np.float32)
    stretches = _stretches(streams)
    beside = None if known is None or not predict else _stretches(known)
    centred = stretches - mean
    K = len(mean)
    now = centred[:, 1:].reshape(-1, K)
    quantiser = Superframes(mean, np.zeros((K, K), np.float32), [])

    def fitted(quantiser: Superframes, hat: np.ndarray, epochs: int) -> tuple[Superframes, np.ndarray]:
        """The quantiser with a prediction fitted to quantised vectors, and what that leaves of the vectors [n, K]."""
        past = hat[:, :-1].reshape(-1, K)
        if beside is None:
            if predict:
                quantiser = replace(quantiser, predictor=fitted_predictor(now, past, largest))
            quantiser = rounded(quantiser, largest) if eight_bit else quantiser
            return quantiser, now - past @ quantiser.predictor.T
        pairs = [part.reshape(len(past), -1) for part in (beside[:, :-1], beside[:, 1:])]
        seen = (now, past, np.concatenate(pairs, axis=1))
        quantiser = _fitted_beside(quantiser, *seen, hidden, largest, epochs, stages[0].seed, threads)
        quantiser = rounded(quantiser, largest) if eight_bit else quantiser
        return quantiser, now - quantiser.predicted(past[:, None], *pairs)[:, 0]

    quantiser, left = fitted(quantiser, centred, _EPOCHS)
    for stage in stages:
        options: dict[str, Any] = {"seed": stage.seed, "stop": stage.stop, "threads": threads}
        codebooks = quantiser.codebooks
        beam = codebooks and vq.train_beam(left, codebooks, stage.size, mbest=_PATHS, **options)
        quantiser = replace(quantiser, codebooks=[*codebooks, (beam or vq.train(left, stage.size, **options)).codebook])
    for number in range(1, _ROUNDS + 1):
        indices = _searched(quantiser, stretches, _PATHS, _WAIT, beside)
        hat = _decoded(quantiser, indices, beside)
        progress(f"closed loop {number}: variance {np.square(centred - hat).mean():.5f}", done=number == _ROUNDS)
        quantiser, left = fitted(quantiser, hat, _EPOCHS // 2)
        codebooks = _refitted(left, quantiser.codebooks, indices[:, 1:].reshape(len(now), -1))
        quantiser = replace(quantiser, codebooks=codebooks)
        quantiser = rounded(quantiser, largest) if eight_bit else quantiser
    return replace(quantiser, codebooks=[ordered(codebook) for codebook in quantiser.codebooks])


def rounded(quantiser: Superframes, largest: float = STABLE) -> Superframes:
    """The quantiser as it is with tables of 8 bits: with a scale a row of matrices, and one an element of codebooks."""
    return replace(
        quantiser,
        predictor=stable(dense.rounded(quantiser.predictor, 1), largest),
        codebooks=[dense.rounded(codebook, 0) for codebook in quantiser.codebooks],
        layers=dense.rounded_layers(quantiser.layers),
    )


def _fitted_beside(
    quantiser: Superframes,
    now: np.ndarray,
    past: np.ndarray,
    pairs: np.ndarray,
    hidden: Sequence[int],
    largest: float,
    epochs: int,
    seed: int,
    threads: int,
) -> Superframes:
    """The quantiser with its matrix and network trained on from what they are.

    They predict vectors `now` [n, K] from quantised vectors `past` [n, K] and what is known beside of both, `pairs`
    [n, 2 D].
    """
    import torch

    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    K = now.shape[1]
    matrix = torch.from_numpy(quantiser.predictor if quantiser.layers else fitted_predictor(now, past, largest)).clone()
    linear = [torch.nn.Linear(*widths) for widths in pairwise([pairs.shape[1], *hidden, 1 + K])]
    network = torch.nn.Sequential(*(part for layer in linear for part in (layer, torch.nn.ReLU())))[:-1]
    scale = torch.ones(1 + K)
    scale[1:] = float(now.std())  # outputs of about one train the fastest
    if quantiser.layers:
        for layer, (W, b) in zip(linear, quantiser.layers, strict=True):
            layer.weight.data, layer.bias.data = torch.from_numpy(W.copy()), torch.from_numpy(b.copy())
        linear[-1].weight.data /= scale[:, None]
        linear[-1].bias.data /= scale
    matrix.requires_grad_()
    optimiser = torch.optim.Adam([matrix, *network.parameters()], lr=_RATE)
    x, y, known = (torch.from_numpy(np.ascontiguousarray(array)) for array in (past, now, pairs))

    def left(chosen: torch.Tensor) -> torch.Tensor:
        told = network(known[chosen]) * scale
        return y[chosen] - torch.sigmoid(told[:, :1]) * (x[chosen] @ matrix.T) - told[:, 1:]

    batches = -(-len(now) // _BATCH)
    for epoch in range(epochs):
        order = torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(len(now)))
        for i, chosen in enumerate(torch.tensor_split(order, batches)):
            for group in optimiser.param_groups:
                group["lr"] = _RATE * (1 + np.cos(np.pi * (epoch + i / batches) / epochs)) / 2
            loss = left(chosen).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            matrix.copy_(torch.from_numpy(stable(matrix.numpy(), largest)))
    with torch.no_grad():
        linear[-1].weight.mul_(scale[:, None])
        linear[-1].bias.mul_(scale)
    layers = [(layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy()) for layer in linear]
    return replace(quantiser, predictor=matrix.detach().numpy().copy(), layers=layers)


def _refitted(left: np.ndarray, codebooks: list[np.ndarray], chosen: np.ndarray) -> list[np.ndarray]:
    """Codebooks whose entries are the means of what the other stages leave of the vectors [n, K] that chose them.

    `chosen` [n, stages] are the indices. An entry that none chose stays where it is.
    """
    codebooks = [*codebooks]
    for _ in range(_REFITS):
        for stage, codebook in enumerate(codebooks):
            others = sum((c[chosen[:, i]] for i, c in enumerate(codebooks) if i != stage), np.zeros_like(left))
            sums = vq.sums_of((left - others).astype(np.float64), chosen[:, stage], len(codebook))
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
    """The entries [M, K] in an order in which indices that differ in one bit are alike, M a power of two.

    From an order along principal components on, two entries change places as long as that brings indices a bit apart
    nearer to each other (Zeger and Gersho, "Pseudo-Gray coding", IEEE Trans. Commun. 38, 1990).
    """
    codebook = _halved(codebook)
    indices = np.arange(len(codebook))
    beside = indices[:, None] ^ (1 << np.arange(len(codebook).bit_length() - 1))  # indices that are a bit apart
    squares = np.square(codebook).sum(axis=1)
    apart = squares[:, None] + squares - 2 * codebook @ codebook.T
    entry = indices.copy()
    cost = np.zeros_like(apart)  # [index, entry]: squared distance of an entry from those a bit apart from that index
    for one in beside.T:
        cost += apart[entry[one]]
    own = cost[indices, entry]
    for _ in range(_EXCHANGES):
        before = entry.copy()
        for i in indices:
            more = cost[i, entry] + cost[:, entry[i]] - own[i] - own
            more[beside[i]] += 2 * apart[entry[i], entry[beside[i]]]
            more[i] = 0
            j = more.argmin()
            if more[j] < -_WORTH * own[i]:
                off = apart[entry[j]] - apart[entry[i]]
                cost[beside[i]] += off
                cost[beside[j]] -= off
                entry[[i, j]] = entry[[j, i]]
                own = cost[indices, entry]
        if np.array_equal(entry, before):
            break
    return codebook[entry]


def _halved(codebook: np.ndarray) -> np.ndarray:
    """The entries halved again and again along the first principal component of each part."""
    if len(codebook) < 2:
        return codebook
    centred = (codebook - codebook.mean(axis=0)).astype(np.float64)
    axis = np.linalg.svd(centred, full_matrices=False)[2][0]
    axis *= np.sign(axis[np.argmax(np.abs(axis))])
    order = np.argsort(centred @ axis, kind="stable")
    half = len(codebook) // 2
    return np.concatenate([_halved(codebook[order[:half]]), _halved(codebook[order[half:]])])
