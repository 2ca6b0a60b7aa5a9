"""Vector quantisation of latents: LBG and beam training, multi-stage M-best search, and prediction over time.

Training splits and refines a codebook (Linde, Buzo and Gray, "An algorithm for vector quantizer design",
IEEE Trans. Commun. 28, 1980) with the start, split and stop rules of Codec 2's `vqtrain`; the search keeps
the best few paths through the stages (LeBlanc et al., "Efficient search and design procedures for robust
multi-stage VQ of LPC parameters", IEEE Trans. Speech Audio Process. 1, 1993) and decides as `vq_mbest` does.
A later stage can be trained on the residuals of all these paths, as faiss' ResidualQuantizer does with a beam.
Arrays in, arrays out: files are read and written elsewhere.

The elements `st` to `en` (inclusive, as in those tools; None is the last element) alone count in the error:
codebooks, residuals and decoded vectors keep all elements. The number of threads never changes a result.

Distances come from faiss: on two cores 144,617 vectors of 10 elements against 4096 entries took its kernel for
few elements, which never stores the distances, 0.13 s, and BLAS and argmax in blocks that fit the cache 0.29 s;
the nearest five cost 1.4 s of one core, and BLAS with a partial sort by groups 2.0 s.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import faiss
import numpy as np
from threadpoolctl import ThreadpoolController

from mlquant.core.errors import InputError

SPLIT = 0.005  # largest change of an element when an entry is split in two; vqtrain's, meant for latents in -1 to 1
_SPARE = 3  # candidates of a search beyond those asked for
_ITERATIONS = 100  # most iterations of k-means; it needs about half of them
_ROUNDS = 20  # most rounds in which unused entries are moved; one is nearly always enough
_SWEEPS = 3  # of the search for a decoder that smooths; with more the error falls by 0.5 % at most
_BLOCK = 1 << 24  # float32 elements in the largest array of a search, 64 MB
_LARGEST = 1e15  # largest magnitude of an element; squares of larger ones overflow float32
_THREADS = 1024


@dataclass(frozen=True)
class Training:
    """A trained codebook [M, k] float32 and what it does to its J training vectors.

    trace: a row (entries, variance, iterations) for each size; indices [J] int64, the nearest entries;
    residual [J, k] float32, the training vectors of the next stage; counts [M] int64, uses of each entry.
    """

    codebook: np.ndarray
    trace: list[tuple[int, float, int]]
    indices: np.ndarray
    residual: np.ndarray
    counts: np.ndarray


def train(
    vectors: np.ndarray,
    size: int,
    *,
    seed: int,
    stop: float = 1e-4,
    st: int = 0,
    en: int | None = None,
    split: bool = True,
    threads: int = 1,
    report: Callable[[int, float, int], None] = lambda entries, variance, iterations: None,
) -> Training:
    """Train a codebook of `size` entries on vectors [J, k].

    With `split` it starts from the centroid and doubles, each entry c becoming c + d and c with d uniform in
    +-SPLIT; without, from `size` different training vectors. At each size Lloyd iterations go on until the
    variance (mean squared error of an element) falls by no more than `stop` of itself, two at least. An entry
    that no vector is nearest to stays where it is. `report` is called with each row of the trace as it comes.
    Raises InputError for a request that cannot be met.
    """
    vectors = _matrix("vectors", vectors)
    elements = _elements(vectors.shape[1], st, en)
    _at_least_one(size=size, threads=threads)
    if size > len(vectors):
        raise InputError(f"size: {size} entries, expected at most the number of training vectors, {len(vectors)}")
    if split and size & (size - 1):
        raise InputError(f"size: {size} entries, expected a power of two, or training without splits")
    if not stop >= 0:
        raise InputError(f"stop: {stop}, expected 0 or more")

    rng = np.random.default_rng(seed)
    mean = vectors.mean(axis=0, dtype=np.float64)
    centred = (vectors - mean).astype(np.float32)
    variance = float(np.square(centred[:, elements], dtype=np.float64).mean())
    codebook = np.zeros((1, vectors.shape[1]), np.float32)
    trace = [] if size > 1 else [(1, variance, 0)]  # the centroid needs no iterations
    if not split:
        initial = centred[rng.choice(len(vectors), size, replace=False)]
        codebook, variance, iterations = _lloyd(centred, initial, variance, stop, elements, threads)
        trace.append((size, variance, iterations))
        report(*trace[-1])
    while len(codebook) < size:
        change = rng.uniform(-SPLIT, SPLIT, codebook.shape).astype(np.float32)
        initial = np.concatenate([codebook + change, codebook])
        codebook, variance, iterations = _lloyd(centred, initial, variance, stop, elements, threads)
        trace.append((len(codebook), variance, iterations))
        report(*trace[-1])

    codebook = (codebook + mean).astype(np.float32)
    indices, _ = nearest(vectors, codebook, st, en, threads)
    return Training(codebook, trace, indices, vectors - codebook[indices], np.bincount(indices, minlength=size))


def _lloyd(
    vectors: np.ndarray, codebook: np.ndarray, variance: float, stop: float, elements: slice, threads: int
) -> tuple[np.ndarray, float, int]:
    """Run Lloyd iterations from a codebook and the variance before it; return codebook, variance, iterations.

    The vectors [J, k] must be centred: then sum |x - c|^2 can be had in float64 from the sums and counts of
    each entry's vectors, as sum |x|^2 - 2 sums.c + counts |c|^2, without a pass over all the differences.
    """
    wide = vectors.astype(np.float64)
    targets = np.ascontiguousarray(vectors[:, elements])
    energy = np.square(wide[:, elements]).sum()
    iterations = 0
    while True:
        indices = _faiss_nearest(targets, codebook[:, elements], 1, threads)[:, 0]
        counts = np.bincount(indices, minlength=len(codebook))[:, None]
        sums = sums_of(wide, indices, len(codebook))
        entries = codebook[:, elements].astype(np.float64)
        error = energy + (entries * (counts * entries - 2 * sums[:, elements])).sum()
        before, variance = variance, max(float(error), 0.0) / targets.size
        iterations += 1
        if iterations >= 2 and before - variance <= stop * variance:
            return codebook, variance, iterations
        codebook = np.where(counts > 0, sums / np.maximum(counts, 1), codebook).astype(np.float32)


def sums_of(wide: np.ndarray, indices: np.ndarray, size: int) -> np.ndarray:
    """Sums [size, k] of the vectors [J, k] float64 of each entry, whose indices [J] are given."""
    from scipy import sparse  # which a search need not wait for

    # A sparse product with one 1 in each row is the fastest sum by entry, and always in the same order.
    chosen = sparse.csr_array((np.ones(len(wide)), indices, np.arange(len(wide) + 1)), shape=(len(wide), size))
    return chosen.T @ wide


def train_beam(
    vectors: np.ndarray,
    before: Sequence[np.ndarray],
    size: int,
    *,
    mbest: int,
    seed: int,
    stop: float = 1e-4,
    threads: int = 1,
    report: Callable[[int, float, int], None] = lambda entries, variance, iterations: None,
) -> Training:
    """Train the codebook of the stage after those of `before` on vectors [J, k], the first stage's.

    It is trained on what the search will offer it: the residuals of all `mbest` paths through the stages before, not
    of the best path alone. So it fits that path a little less, and unseen vectors better. faiss' k-means starts from
    `size` residuals drawn at random and goes on until their variance falls by no more than `stop` of itself. Then an
    entry that no residual is nearest to takes half of the fullest cell.

    Indices, residual, counts and the only row of the trace are those of the best path through all of the stages.
    Raises InputError for a request that cannot be met.
    """
    vectors = _matrix("vectors", vectors)
    if not before:
        raise InputError("before: no codebooks, expected those of the stages before")
    before = [_matrix("codebook", codebook) for codebook in before]
    _same_width(vectors, *before)
    _at_least_one(size=size, mbest=mbest, threads=threads)
    if size > len(vectors):
        raise InputError(f"size: {size} entries, expected at most the number of training vectors, {len(vectors)}")
    if not stop >= 0:
        raise InputError(f"stop: {stop}, expected 0 or more")

    residuals = _search(vectors, [_entries(codebook) for codebook in before], mbest, mbest, threads)[1]
    offered = np.ascontiguousarray(residuals.reshape(-1, vectors.shape[1]))
    rng = np.random.default_rng(seed)
    initial = offered[rng.choice(len(offered), size, replace=False)]
    codebook, iterations = _kmeans(offered, initial, stop, threads)
    codebook, indices, errors = _all_used(offered, codebook, rng, threads)

    best = errors.reshape(residuals.shape[:2]).argmin(axis=1)[:, None]
    indices = np.take_along_axis(indices.reshape(residuals.shape[:2]), best, axis=1)[:, 0]
    residual = np.take_along_axis(residuals, best[:, :, None], axis=1)[:, 0] - codebook[indices]
    trace = [(size, float(np.square(residual, dtype=np.float64).mean()), iterations)]
    report(*trace[0])
    return Training(codebook, trace, indices, residual, np.bincount(indices, minlength=size))


def _kmeans(vectors: np.ndarray, initial: np.ndarray, stop: float, threads: int) -> tuple[np.ndarray, int]:
    """Run k-means of faiss on vectors [J, k] from `initial` [M, k]; return the codebook and how many iterations."""
    kmeans: Any = faiss.Kmeans(  # Any: by its types the centroids are None, also after training
        vectors.shape[1],
        len(initial),
        niter=_ITERATIONS,
        early_stop_threshold=min(stop, 1.0),
        # Otherwise it warns of few vectors, and draws 256 an entry from many.
        min_points_per_centroid=1,
        max_points_per_centroid=len(vectors),
    )
    with _faiss_threads(threads), _blas().limit(limits=1, user_api="blas"):
        kmeans.train(vectors, init_centroids=initial)
    return kmeans.centroids, len(kmeans.obj)


def _all_used(
    vectors: np.ndarray, codebook: np.ndarray, rng: np.random.Generator, threads: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Move entries of a codebook [M, k] until each is the nearest to some of the vectors [J, k].

    An unused entry goes to one of the fullest cells: it and the cell's own entry move to either side of its mean.
    Returns the codebook, and the nearest entry and squared error of each vector [J].
    """
    for _ in range(_ROUNDS):
        indices, errors = nearest(vectors, codebook, threads=threads)
        counts = np.bincount(indices, minlength=len(codebook))
        unused = np.flatnonzero(counts == 0)
        if not len(unused):
            return codebook, indices, errors
        wide, number = vectors.astype(np.float64), np.maximum(counts, 1)[:, None]
        means = sums_of(wide, indices, len(codebook)) / number
        spread = np.sqrt(sums_of(np.square(wide - means[indices]), indices, len(codebook)) / number)
        divisible = np.flatnonzero(spread.any(axis=1))  # its vectors are not all the same
        full = divisible[np.argsort(-counts[divisible], kind="stable")][: len(unused)]
        side = spread[full] / codebook.shape[1] ** 0.5 * rng.choice([-1, 1], (len(full), codebook.shape[1]))
        codebook = codebook.copy()
        codebook[unused[: len(full)]], codebook[full] = means[full] + side, means[full] - side
    raise InputError(f"size: {len(codebook)} entries, expected fewer, as {len(unused)} are nearest to no vector")


def refined(
    vectors: np.ndarray, codebooks: Sequence[np.ndarray], *, iterations: int, threads: int = 1
) -> list[np.ndarray]:
    """Return the codebooks [M, k] of all stages after `iterations` more Lloyd iterations each on vectors [J, k].

    This is for vectors that have moved a little since the codebooks were trained on them. Each stage is fitted to the
    residuals of the stages before it. An entry that no vector is nearest to stays where it is. Raises InputError for
    what cannot be used.
    """
    residual = _matrix("vectors", vectors)
    codebooks = [_matrix("codebook", codebook) for codebook in codebooks]
    _same_width(residual, *codebooks)
    _at_least_one(iterations=iterations, threads=threads)
    moved = []
    for codebook in codebooks:
        wide = residual.astype(np.float64)
        for _ in range(iterations):
            indices, _ = nearest(residual, codebook, threads=threads)
            counts = np.bincount(indices, minlength=len(codebook))[:, None]
            means = sums_of(wide, indices, len(codebook)) / np.maximum(counts, 1)
            codebook = np.where(counts > 0, means, codebook).astype(np.float32)
        residual = residual - codebook[nearest(residual, codebook, threads=threads)[0]]
        moved.append(codebook)
    return moved


def nearest(
    vectors: np.ndarray, codebook: np.ndarray, st: int = 0, en: int | None = None, threads: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest entry of codebook [M, k] to each of vectors [F, k].

    Returns indices [F] int64, the first among equal entries, and squared errors [F] float32, summed over
    elements `st` to `en`. Two entries whose errors differ by less than the precision of float32 may change places.
    """
    vectors, codebook = _matrix("vectors", vectors), _matrix("codebook", codebook)
    _same_width(vectors, codebook)
    _at_least_one(threads=threads)
    elements = _elements(vectors.shape[1], st, en)
    indices, errors = _nearest_few(vectors[:, elements], _entries(codebook[:, elements]), 1, threads)
    return indices[:, 0], errors[:, 0]


def search(
    vectors: np.ndarray,
    codebooks: Sequence[np.ndarray],
    mbest: int,
    *,
    st: int = 0,
    en: int | None = None,
    threads: int = 1,
) -> np.ndarray:
    """M-best search of vectors [F, k] through the codebooks [M, k] of all stages; returns indices [F, stages].

    Each stage searches the residuals of the `mbest` paths kept by the last stage, and keeps the best `mbest` of
    all paths that this gives; an `mbest` beyond their number keeps them all. Raises InputError for what cannot be used.
    """
    vectors, codebooks = _searchable(vectors, codebooks, mbest, threads)
    elements = _elements(vectors.shape[1], st, en)
    stages = [_entries(codebook[:, elements]) for codebook in codebooks]
    return _best_paths(vectors[:, elements], stages, mbest, threads)


def _best_paths(targets: np.ndarray, stages: Sequence[_Entries], mbest: int, threads: int) -> np.ndarray:
    """Return the indices [F, stages] of the best path of each of targets [F, k]."""
    return _search(np.ascontiguousarray(targets), stages, mbest, 1, threads)[0][:, 0]


def search_smoothed(
    vectors: np.ndarray,
    codebooks: Sequence[np.ndarray],
    mbest: int,
    smooth: float,
    *,
    st: int = 0,
    en: int | None = None,
    threads: int = 1,
) -> np.ndarray:
    """Search of vectors [F, k] for a decoder that smooths what it gets (see `smoothed`); returns indices [F, stages].

    It begins with those of `search`. Then each third vector in turn is searched anew, for the entries that lower the
    error of itself and both neighbours most where these stay as they are, `_SWEEPS` times over all. At 12 bits and a
    `smooth` of 0.25 the error of the latents of 240118 falls to 56 %; smoothing without that search leaves 80 %.
    """
    vectors, codebooks = _searchable(vectors, codebooks, mbest, threads)
    elements = _elements(vectors.shape[1], st, en)
    stages = [_entries(codebook[:, elements]) for codebook in codebooks]
    indices = _best_paths(vectors[:, elements], stages, mbest, threads)
    sent, searched = decode(indices, codebooks), np.full_like(vectors, np.nan)
    middle = 1 - 2 * smooth
    for first in (*range(3),) * _SWEEPS:
        third = np.arange(first, len(sent), 3)
        before, own, after = (
            np.pad(vectors - smoothed(sent, smooth), ((1, 1), (0, 0)))[third + place] for place in range(3)
        )
        wanted = sent[third] + (smooth * (before + after) + middle * own) / (2 * smooth**2 + middle**2)
        wanted = wanted.astype(np.float32)
        # What was searched before would find the same entries.
        new = (wanted != searched[third]).any(axis=1)
        changed = third[new]
        if not len(changed):
            continue
        searched[changed] = wanted[new]
        indices[changed] = _best_paths(wanted[new][:, elements], stages, mbest, threads)
        sent[changed] = decode(indices[changed], codebooks)
    return indices


def smoothed(vectors: np.ndarray, smooth: float) -> np.ndarray:
    """Return vectors [F, k] float32 with the share `smooth` of each neighbour; the ends are their own neighbours."""
    _check_smooth(smooth)
    wide = np.pad(vectors, ((1, 1), (0, 0)), "edge")
    return ((1 - 2 * smooth) * vectors + smooth * (wide[:-2] + wide[2:])).astype(np.float32)


def _check_smooth(smooth: float) -> None:
    if not 0 <= smooth <= 0.33:
        raise InputError(f"smooth: {smooth}, expected 0 to 0.33")


def _searchable(
    vectors: np.ndarray, codebooks: Sequence[np.ndarray], mbest: int, threads: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    vectors = _matrix("vectors", vectors)
    if not codebooks:
        raise InputError("codebooks: none, expected one for each stage")
    codebooks = [_matrix("codebook", codebook) for codebook in codebooks]
    _same_width(vectors, *codebooks)
    _at_least_one(mbest=mbest, threads=threads)
    return vectors, codebooks


@dataclass(frozen=True)
class _Entries:
    """A codebook [M, k] prepared for a search.

    `centred` are its entries less their `mean` [k] float64; `first` is for each entry the index of the first equal one.
    """

    codebook: np.ndarray
    centred: np.ndarray
    mean: np.ndarray
    first: np.ndarray

    def __len__(self) -> int:
        return len(self.codebook)


def _entries(codebook: np.ndarray) -> _Entries:
    codebook = np.ascontiguousarray(codebook)
    mean = codebook.mean(axis=0, dtype=np.float64)
    centred = (codebook - mean).astype(np.float32)
    _, first, inverse = np.unique(centred, axis=0, return_index=True, return_inverse=True)
    return _Entries(codebook, centred, mean, first[inverse])


def _search(
    targets: np.ndarray, stages: Sequence[_Entries], mbest: int, last: int, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Find the best paths, `last` at most, of targets [F, k]: indices [F, paths, stages], residuals [F, paths, k]."""
    # A stage offers up to mbest entries, and the spare ones, to every path of the last: this bounds the memory.
    few = min(mbest, max(map(len, stages)))
    block = max(1, _BLOCK // (targets.shape[1] * few * (few + _SPARE)))
    if (len(stages) > 1 or last > 1) and targets.shape[1] * few**2 > _BLOCK:
        _refuse_mbest(mbest, targets.shape[1])
    starts = range(0, len(targets), block)
    blocks = [_search_block(targets[i : i + block], stages, mbest, last, threads) for i in starts]
    paths, residuals = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return paths, residuals


def _refuse_mbest(mbest: int, width: int) -> None:
    most = int((_BLOCK / width) ** 0.5)
    raise InputError(f"mbest: {mbest}, expected at most {most} for vectors of {width} elements")


def _search_block(
    targets: np.ndarray, stages: Sequence[_Entries], mbest: int, last: int, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    residuals = targets[:, None, :]  # [F, paths, k]
    paths = np.empty((*residuals.shape[:2], 0), np.int64)  # [F, paths, stages so far]
    for stage, entries in enumerate(stages):
        frames, kept, width = residuals.shape
        keep = last if stage == len(stages) - 1 else mbest
        indices, errors = _nearest_few(residuals.reshape(-1, width), entries, min(keep, len(entries)), threads)
        offered = indices.shape[1]
        # Stable: of equal paths the one from the better parent comes first, as in vq_mbest.
        best = np.argsort(errors.reshape(frames, -1), axis=1, kind="stable")[:, :keep]
        chosen = np.take_along_axis(indices.reshape(frames, kept * offered), best, axis=1)
        parent = (best // offered)[:, :, None]
        paths = np.concatenate([np.take_along_axis(paths, parent, axis=1), chosen[:, :, None]], axis=2)
        residuals = np.take_along_axis(residuals, parent, axis=1) - entries.codebook[chosen]
    return paths, residuals


def _nearest_few(vectors: np.ndarray, entries: _Entries, few: int, threads: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the `few` nearest entries to each vector, best first: indices and squared errors, both [F, few]."""
    # About the codebook's mean: distances stay, and |x|^2 - 2 x.c + |c|^2 in float32 loses least.
    targets = (vectors - entries.mean).astype(np.float32)
    if few == 1:
        indices = entries.first[_faiss_nearest(targets, entries.centred, 1, threads)[:, 0]]
        return indices[:, None], _squared(vectors - entries.codebook[indices])[:, None]
    # Exact errors choose among spare candidates too: faiss's errors are good to float32 of |x|^2 only.
    found = np.sort(_faiss_nearest(targets, entries.centred, min(few + _SPARE, len(entries)), threads), axis=1)
    errors = _squared(vectors[:, None, :] - entries.codebook[found])
    order = np.argsort(errors, axis=1, kind="stable")[:, :few]
    return np.take_along_axis(found, order, axis=1), np.take_along_axis(errors, order, axis=1)


def decode(indices: np.ndarray, codebooks: Sequence[np.ndarray]) -> np.ndarray:
    """Sum the entries that indices [F, stages] name in the codebooks [M, k]; returns [F, k] float32."""
    indices = np.asarray(indices)
    if indices.ndim != 2 or indices.shape[1] != len(codebooks):
        raise InputError(f"indices: shape {indices.shape}, expected [F, {len(codebooks)}], a column a stage")
    decoded = np.zeros((len(indices), codebooks[0].shape[1]), np.float32)
    for stage, codebook in enumerate(codebooks):
        _in_codebook(indices[:, stage], len(codebook), stage)
        decoded += codebook[indices[:, stage]]
    return decoded


def predictor(vectors: np.ndarray, before: np.ndarray) -> float:
    """Return the least squares coefficient, within 0 to 0.95, of vectors [J, k] on those sent before them [J, k].

    Both are taken less their means.
    """
    vectors, before = _pairs(vectors, before)
    vectors, before = (array - array.mean(axis=0, dtype=np.float64) for array in (vectors, before))
    energy = np.square(before).sum()
    return float(np.clip((vectors * before).sum() / energy, 0, 0.95)) if energy else 0.0


def prediction_residuals(vectors: np.ndarray, before: np.ndarray, a: float) -> np.ndarray:
    """Return the prediction residuals of vectors [J, k], with those sent before them [J, k]: x_t - a x_(t-1).

    They are the training set of a predictive quantiser. To predict from quantised vectors instead, as the search does,
    lowered its error by 2 % at most.
    """
    vectors, before = _pairs(vectors, before)
    return vectors - _coefficient(a) * before


def search_predictive(
    vectors: np.ndarray,
    codebooks: Sequence[np.ndarray],
    mbest: int,
    a: float | np.float32,
    *,
    send_every: int = 1,
    reset_every: int | None = None,
    counted: np.ndarray | None = None,
    threads: int = 1,
) -> np.ndarray:
    """Search vectors [F, k], each `send_every`-th of which is sent, in a closed loop of prediction.

    Returns indices [ceil(F/send_every), stages]. The residual of a prediction from the decoder's own past is quantised,
    x_hat_t = a x_hat_(t-1) + VQ(x_t - a x_hat_(t-1)). The past is zero at the first of every `reset_every` vectors
    sent; these make a segment. See "Predictive vector quantization" in Gersho and Gray, "Vector Quantization and Signal
    Compression", 1992.

    As each choice affects those after it, `mbest` paths are kept from one vector to the next, by the M-algorithm
    (Anderson and Mohan, "Sequential coding algorithms", IEEE Trans. Commun. 32, 1984): those of the least error so far,
    in which vectors that the decoder interpolates count too. With 1 path each entry is the nearest one. `counted`
    [ceil(F/send_every)] bool says of which vectors sent the error counts; it does not for those that only fill up the
    last segment.
    """
    vectors, codebooks = _searchable(vectors, codebooks, mbest, threads)
    a, stages = _coefficient(a), [_entries(codebook) for codebook in codebooks]
    _at_least_one(send_every=send_every)
    send_every = min(send_every, len(vectors))
    sent = -(-len(vectors) // send_every)
    reset_every = _within(sent, reset_every)
    counted = np.ones(sent, bool) if counted is None else counted
    # At most so many entries continue a path: that bounds how many segments are searched at once.
    offered = min(mbest, math.prod(map(len, codebooks)))
    if vectors.shape[1] * mbest * offered > _BLOCK:
        _refuse_mbest(mbest, vectors.shape[1])
    block = max(1, _BLOCK // (mbest * offered * vectors.shape[1])) * reset_every
    found = [
        _search_segments(
            vectors[i * send_every : (i + block) * send_every],
            counted[i : i + block],
            stages,
            mbest,
            a,
            send_every,
            reset_every,
            threads,
        )
        for i in range(0, sent, block)
    ]
    return np.concatenate(found)


def _search_segments(
    vectors: np.ndarray,
    counted: np.ndarray,
    stages: Sequence[_Entries],
    mbest: int,
    a: np.float32,
    send_every: int,
    reset_every: int,
    threads: int,
) -> np.ndarray:
    """Return indices [ceil(F/send_every), stages] of vectors [F, k]; all segments are searched at once."""
    sent = len(counted)
    count, width = -(-sent // reset_every), vectors.shape[1]
    # By segment, vector sent, and place from this vector up to the next one sent.
    padded: np.ndarray = np.zeros((count * reset_every * send_every, width), np.float32)
    padded[: len(vectors)] = vectors
    padded = padded.reshape(count, reset_every, send_every, width)
    counts = np.pad(counted, (0, count * reset_every - sent)).reshape(count, reset_every)
    state, cost = np.zeros((count, 1, width), np.float32), np.zeros((count, 1))
    parents, chosen = [], []
    for frame in range(reset_every):
        target = padded[:, frame, :1]  # [count, 1, k]
        found, residuals = _search((target - a * state).reshape(-1, width), stages, mbest, mbest, threads)
        residuals = residuals.reshape(count, state.shape[1], -1, width)  # [count, paths, offered, k]
        offered = residuals.shape[2]
        quantised = target[:, :, None] - residuals
        error = _squared(residuals)
        for after in range(1, send_every) if frame else ():
            share = np.float32(after / send_every)
            between = (1 - share) * state[:, :, None] + share * quantised
            error = error + _squared(padded[:, frame - 1, after, None, None] - between)
        total = (cost[:, :, None] + counts[:, frame, None, None] * error).reshape(count, -1)
        kept = np.argsort(total, axis=1, kind="stable")[:, :mbest]
        cost = np.take_along_axis(total, kept, axis=1)
        state = np.take_along_axis(quantised.reshape(count, -1, width), kept[:, :, None], axis=1)
        found = found.reshape(count, -1, len(stages))
        chosen.append(np.take_along_axis(found, kept[:, :, None], axis=1))
        parents.append(kept // offered)
    indices = np.empty((count, reset_every, len(stages)), np.int64)
    best = np.zeros(count, np.int64)  # paths are in the order of their cost
    for frame in reversed(range(reset_every)):
        indices[:, frame] = chosen[frame][np.arange(count), best]
        best = parents[frame][np.arange(count), best]
    return indices.reshape(-1, len(stages))[:sent]


def decode_predictive(
    indices: np.ndarray,
    codebooks: Sequence[np.ndarray],
    a: float | np.float32,
    *,
    reset_every: int | None = None,
    lost: np.ndarray | None = None,
) -> np.ndarray:
    """Decode the indices [F, stages] of a predictive search, with its `a` and `reset_every`: vectors [F, k] float32.

    A vector that is `lost` [F] bool is decoded as its prediction alone. The error of this falls to a^n of itself in n
    vectors, or ends at the next reset: 8 dB RMS fall below 0.5 dB after 6, 8, 13, 27 and 55 vectors for an a of 0.6,
    0.7, 0.8, 0.9 and 0.95.
    """
    from scipy import signal  # which a search without prediction need not wait for

    a, parts = _coefficient(a), decode(indices, codebooks)
    reset_every = _within(len(parts), reset_every)
    if lost is not None:
        parts[lost] = 0
    frames, width = parts.shape
    parts = np.pad(parts, ((0, -frames % reset_every), (0, 0))).reshape(-1, reset_every, width)
    # numpy makes arrays of the two lists; its types refuse them.
    return signal.lfilter(np.float32([1]), np.float32([1, -a]), parts, axis=1).reshape(-1, width)[:frames]  # type: ignore[arg-type]


def quantise(
    vectors: np.ndarray,
    codebooks: Sequence[np.ndarray],
    mbest: int,
    *,
    send_every: int = 1,
    a: float | None = None,
    reset_every: int | None = None,
    counted: np.ndarray | None = None,
    smooth: float = 0.0,
    st: int = 0,
    en: int | None = None,
    threads: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Quantise each `send_every`-th of vectors [F, k]: indices [ceil(F/send_every), stages], and the decoded vectors.

    With a coefficient `a` it predicts as `search_predictive` does, which describes `reset_every` and `counted`. Without
    one the errors of the elements `st` to `en` count, as in `search`; where each vector is sent, the decoded ones may
    be smoothed, as `search_smoothed` describes.
    """
    if smooth and (a is not None or send_every > 1):
        raise InputError(f"smooth: {smooth}, expected 0 with prediction, and where not every vector is sent")
    if smooth:
        indices = search_smoothed(vectors, codebooks, mbest, smooth, st=st, en=en, threads=threads)
        return indices, smoothed(decode(indices, codebooks), smooth)
    if a is None:
        indices = search(vectors[::send_every], codebooks, mbest, st=st, en=en, threads=threads)
        return indices, decode(indices, codebooks)
    options: dict[str, Any] = {
        "send_every": send_every,
        "reset_every": reset_every,
        "counted": counted,
        "threads": threads,
    }
    indices = search_predictive(vectors, codebooks, mbest, a, **options)
    return indices, decode_predictive(indices, codebooks, a, reset_every=reset_every)


def interpolated(sent: np.ndarray, send_every: int, frames: int) -> np.ndarray:
    """Return vectors [frames, k] float32 for those [ceil(frames/send_every), k] that were sent, from frame 0 on.

    They lie on straight lines between those sent, and stay at the last. Raises InputError for another number of `sent`.
    """
    sent = _matrix("vectors", sent)
    _at_least_one(send_every=send_every)
    if len(sent) != -(-frames // send_every):
        raise InputError(f"vectors: found {len(sent)}, expected {-(-frames // send_every)} for {frames} frames")
    index, after = np.divmod(np.arange(frames), send_every)
    share = (after / np.float32(send_every)).astype(np.float32)[:, None]
    return (1 - share) * sent[index] + share * sent[np.minimum(index + 1, len(sent) - 1)]


def _pairs(vectors: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    vectors, before = _matrix("vectors", vectors), _matrix("vectors before", before)
    if before.shape != vectors.shape:
        raise InputError(f"vectors before: shape {before.shape}, expected {vectors.shape} as of the vectors")
    return vectors, before


def _within(sent: int, reset_every: int | None) -> int:
    if reset_every is not None:
        _at_least_one(reset_every=reset_every)
    return max(1, min(reset_every or sent, sent))


def _coefficient(a: float | np.float32) -> np.float32:
    if not 0 <= np.float32(a) < 1:
        raise InputError(
            f"prediction coefficient: {a}, expected at least 0 and less than 1, so that what is lost fades"
        )
    return np.float32(a)


def usage(indices: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """Count how often each entry is used: for each column of indices [F, stages] the counts [M] int64."""
    for stage, size in enumerate(sizes):
        _in_codebook(indices[:, stage], size, stage)
    return [np.bincount(indices[:, stage], minlength=size) for stage, size in enumerate(sizes)]


def mean_squared_error(vectors: np.ndarray, decoded: np.ndarray, *, st: int = 0, en: int | None = None) -> float:
    """Mean squared error of an element, as `vq_mbest` prints it."""
    elements = _elements(vectors.shape[1], st, en)
    return float(np.square(vectors[:, elements].astype(np.float64) - decoded[:, elements]).mean())


def uniform(latents: np.ndarray, bits: int) -> np.ndarray:
    """Quantise latents [F, d] to the middles, float32, of s = 2^bits equal steps over (-1, 1): variance 1/(3 s^2)."""
    levels = 2**bits
    steps = np.clip(np.floor((latents + 1) * (levels / 2)), 0, levels - 1)
    return ((steps + 0.5) * (2 / levels) - 1).astype(np.float32)


@cache
def _blas() -> ThreadpoolController:
    """Return the control of BLAS' threads, made once: finding its libraries takes longer than a frame's search."""
    return ThreadpoolController()


@contextlib.contextmanager
def _faiss_threads(threads: int) -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _faiss_nearest(targets: np.ndarray, entries: np.ndarray, few: int, threads: int) -> np.ndarray:
    """Indices [F, few] int64 of the nearest entries, by float32 errors that may swap near ties."""
    # More than one entry goes through BLAS, whose sums depend on its number of threads.
    limit = _blas().limit(limits=1, user_api="blas") if few > 1 else contextlib.nullcontext()
    with _faiss_threads(threads), limit:
        return faiss.knn(targets, np.ascontiguousarray(entries), few)[1]


def _squared(differences: np.ndarray) -> np.ndarray:
    return np.einsum("...k,...k->...", differences, differences)


def _matrix(name: str, array: np.ndarray) -> np.ndarray:
    array = np.ascontiguousarray(array, np.float32)
    if array.ndim != 2 or not array.size:
        raise InputError(f"{name}: shape {array.shape}, expected rows of numbers, at least one")
    if not np.isfinite(array).all():
        raise InputError(f"{name}: row {int(np.argmin(np.isfinite(array).all(axis=1)))} holds NaN or infinity")
    if (largest := max(array.max(), -array.min())) > _LARGEST:
        raise InputError(f"{name}: holds {largest:g}, expected at most {_LARGEST:g} either way")
    return array


def _elements(width: int, st: int, en: int | None) -> slice:
    last = width - 1 if en is None else en
    if not 0 <= st <= last < width:
        raise InputError(f"st, en: {st} to {last}, expected 0 <= st <= en < {width}, the number of elements")
    return slice(st, last + 1)


def _same_width(vectors: np.ndarray, *codebooks: np.ndarray) -> None:
    for codebook in codebooks:
        if codebook.shape[1] != vectors.shape[1]:
            raise InputError(f"codebook: {codebook.shape[1]} elements an entry, expected {vectors.shape[1]}")


def _in_codebook(indices: np.ndarray, size: int, stage: int) -> None:
    if len(indices) and not 0 <= indices.min() <= indices.max() < size:
        raise InputError(f"indices: {indices.min()} to {indices.max()} in stage {stage + 1}, expected 0 to {size - 1}")


def _at_least_one(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise InputError(f"{name}: {number}, expected at least 1")
        if name == "threads" and number > _THREADS:
            raise InputError(f"threads: {number}, expected at most {_THREADS}")
