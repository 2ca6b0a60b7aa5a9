import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from hypothesis.extra.numpy import arrays
from scipy.signal import lfilter

from mlquant.core.errors import InputError
from mlquant.core.records import read_f32
from mlquant.quantisers import vq


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def clusters(seed, centres, each, spread):
    noise = np.random.default_rng(seed).uniform(-spread, spread, (each, *centres.shape))
    return (centres + noise).reshape(-1, centres.shape[1]).astype(np.float32)


def exact_errors(vectors, codebook):
    return np.square(vectors[:, None].astype(float) - codebook[None]).sum(axis=2)


def mean_error(vectors, codebooks, mbest):
    return vq.mean_squared_error(vectors, vq.decode(vq.search(vectors, codebooks, mbest), codebooks))


# Training


def test_one_entry_is_the_centroid():
    vectors = normal(1, 500, 3) + 7
    trained = vq.train(vectors, 1, seed=0)
    np.testing.assert_allclose(trained.codebook, vectors.mean(axis=0, keepdims=True), rtol=1e-6)
    assert trained.trace == [(1, pytest.approx(vectors.var(axis=0).mean(), rel=1e-4), 0)]
    assert trained.counts.tolist() == [500]


@pytest.mark.parametrize("split", [True, False])
def test_training_recovers_known_clusters(split):
    # Without splits it starts from vectors drawn at random; this asks for a seed that draws one of each cluster.
    centres = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], float)
    vectors = clusters(2, centres, 100, 0.1)
    seed = 1 if split else next(s for s in range(100) if one_of_each(s, len(vectors)))
    trained = vq.train(vectors, 4, seed=seed, split=split)
    found = trained.codebook[np.lexsort(np.rint(trained.codebook.T[::-1]))]
    means = vectors.reshape(100, 4, 2).mean(axis=0)
    np.testing.assert_allclose(found, means, atol=1e-6)
    assert trained.counts.tolist() == [100] * 4


def one_of_each(seed, number):
    return set(np.random.default_rng(seed).choice(number, 4, replace=False) % 4) == {0, 1, 2, 3}


def test_the_trace_tells_every_size_and_ends_in_the_variance_of_the_residual():
    vectors = 0.3 * normal(3, 4000, 4) + 100
    trained = vq.train(vectors, 64, seed=1)
    sizes, variances, iterations = zip(*trained.trace, strict=True)
    assert sizes == (2, 4, 8, 16, 32, 64)
    assert all(np.diff(variances) < 0)
    assert min(iterations) >= 2
    assert variances[-1] == pytest.approx(np.square(trained.residual, dtype=float).mean(), rel=1e-4)
    np.testing.assert_array_equal(trained.residual, vectors - trained.codebook[trained.indices])
    np.testing.assert_array_equal(trained.counts, np.bincount(trained.indices, minlength=64))
    np.testing.assert_array_equal(trained.indices, vq.nearest(vectors, trained.codebook)[0])


def reference_lloyd(vectors, codebook, variance, stop):
    """The loop as the tool's description states it, every difference taken."""
    iterations = 0
    while True:
        errors = exact_errors(vectors, codebook)
        indices = errors.argmin(axis=1)
        before, variance = variance, errors.min(axis=1).sum() / vectors.size
        iterations += 1
        if iterations >= 2 and (before - variance) / variance <= stop:
            return codebook, variance, iterations
        codebook = np.array([vectors[indices == i].mean(axis=0) if (indices == i).any() else c
                             for i, c in enumerate(codebook)])  # fmt: skip


def test_iterations_stop_where_the_plain_loop_stops():
    vectors = normal(4, 1500, 3)
    rng = np.random.default_rng(5)
    codebook, variance = vectors.mean(axis=0, keepdims=True).astype(float), vectors.var(axis=0).mean()
    trained = vq.train(vectors, 16, seed=5)
    for size, found, iterations in trained.trace:
        change = rng.uniform(-vq.SPLIT, vq.SPLIT, codebook.shape)
        start = np.concatenate([codebook + change, codebook])
        codebook, variance, expected = reference_lloyd(vectors, start, variance, 1e-4)
        assert (size, iterations) == (len(codebook), expected)
        assert found == pytest.approx(variance, rel=1e-5)
    np.testing.assert_allclose(trained.codebook, codebook, atol=1e-5)


def test_a_chain_of_residuals_lowers_the_variance():
    residual, variances = normal(6, 3000, 4), []
    for stage in range(3):
        trained = vq.train(residual, 16, seed=stage)
        residual = trained.residual
        variances.append(trained.trace[-1][1])
    assert variances[0] > 1.5 * variances[1] > 2 * variances[2]


def test_only_the_chosen_elements_steer_training():
    vectors = normal(7, 2000, 4)
    loud = vectors * np.float32([1000, 1, 1, 1000])
    quiet, trained = (vq.train(v, 8, seed=1, st=1, en=2) for v in (vectors, loud))
    np.testing.assert_allclose(trained.trace, quiet.trace)
    np.testing.assert_array_equal(trained.indices, quiet.indices)
    outer = [loud[trained.indices == i, 0].mean() for i in range(8)]
    np.testing.assert_allclose(trained.codebook[:, 0], outer, atol=30)  # centroids of all the elements


def test_entries_without_vectors_stay_and_identical_vectors_end():
    trained = vq.train(np.ones((8, 2), np.float32), 8, seed=1)
    assert trained.counts.sum() == 8
    assert np.abs(trained.codebook - 1).max() <= 3 * vq.SPLIT
    assert trained.trace[-1][1] == pytest.approx(0, abs=1e-4)


def test_training_depends_on_the_seed_and_not_on_threads():
    vectors = normal(8, 5003, 10)
    one, two, other = (vq.train(vectors, 64, seed=s, threads=t) for s, t in ((1, 1), (1, 2), (2, 1)))
    assert one.codebook.tobytes() == two.codebook.tobytes()
    assert one.trace == two.trace
    assert one.codebook.tobytes() != other.codebook.tobytes()


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"size": 12}, "size: 12 "),
        ({"size": 64}, "size: 64 "),
        ({"size": 0}, "size: 0"),
        ({"stop": -1.0}, "stop: -1.0"),
        ({"stop": float("nan")}, "stop: nan"),
        ({"st": 2, "en": 1}, "st, en: 2 to 1"),
        ({"en": 3}, "st, en: 0 to 3"),
        ({"st": -1}, "st, en: -1"),
        ({"threads": 0}, "threads: 0"),
        ({"vectors": np.full((40, 3), np.nan)}, "vectors: row 0 holds NaN"),
        ({"vectors": np.zeros(40)}, "vectors: shape"),
        ({"vectors": np.zeros((0, 3))}, "vectors: shape"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_name(request_, says):
    with pytest.raises(InputError) as error:
        vq.train(**{"vectors": normal(9, 40, 3), "size": 4, "seed": 0, **request_})
    assert says in str(error.value)


# Training on all survivors


def survivors_of(vectors, codebook):
    """The residuals of all paths through one stage, when as many survive as it has entries."""
    return (vectors[:, None] - codebook).reshape(-1, vectors.shape[1])


def test_a_beam_stage_tells_of_the_best_path_through_all_stages():
    vectors, before = normal(40, 1500, 4), [normal(41, 16, 4), 0.5 * normal(42, 8, 4)]
    rows = []
    trained = vq.train_beam(vectors, before, 32, mbest=3, seed=1, report=lambda *row: rows.append(row))
    codebooks = [*before, trained.codebook]
    indices = vq.search(vectors, codebooks, 3)
    np.testing.assert_array_equal(trained.indices, indices[:, 2])
    np.testing.assert_array_equal(trained.counts, np.bincount(indices[:, 2], minlength=32))
    np.testing.assert_allclose(trained.residual, vectors - vq.decode(indices, codebooks), atol=1e-6)
    ((entries, variance, iterations),) = trained.trace
    assert (entries, variance) == (32, pytest.approx(mean_error(vectors, codebooks, 3), rel=1e-5))
    assert iterations > 2 and rows == trained.trace


def test_of_one_survivor_it_is_k_means_of_the_residual():
    vectors = normal(43, 3000, 4)
    first = vq.train(vectors, 16, seed=1)
    greedy = vq.train(first.residual, 32, seed=1)
    beam = vq.train_beam(vectors, [first.codebook], 32, mbest=1, seed=1, stop=0)
    assert beam.trace[0][1] == pytest.approx(greedy.trace[-1][1], rel=0.05)
    means = [first.residual[beam.indices == i].mean(axis=0) for i in range(32)]
    np.testing.assert_allclose(beam.codebook, means, atol=1e-5)


def test_entries_are_the_means_of_all_survivors_nearest_to_them():
    vectors, before = normal(46, 2000, 2), np.float32([[-1, 0], [1, 0]])
    trained = vq.train_beam(vectors, [before], 8, mbest=2, seed=1, stop=0)
    offered = survivors_of(vectors, before)
    indices, _ = vq.nearest(offered, trained.codebook)
    means = [offered[indices == i].mean(axis=0) for i in range(8)]
    np.testing.assert_allclose(trained.codebook, means, atol=1e-5)


@pytest.mark.parametrize("stop", [1.0, 1e-4])
def test_each_entry_is_the_nearest_to_some_survivor(stop):
    # Where most vectors are alike, half of the start is too, and k-means leaves many entries to no vector.
    vectors = np.concatenate([normal(44, 80, 2), np.repeat(normal(45, 2, 2), 200, axis=0)])
    before = np.float32([[-1, 0], [1, 0]])
    offered = survivors_of(vectors, before)
    trained = vq.train_beam(vectors, [before], 64, mbest=2, seed=1, stop=stop)
    assert np.bincount(vq.nearest(offered, trained.codebook)[0], minlength=64).min() > 0


def test_it_serves_unseen_vectors_better_than_greedy_training_and_those_of_training_worse():
    vectors, unseen = normal(47, 1000, 6), normal(48, 2000, 6)
    first = vq.train(vectors, 64, seed=1)
    greedy = [first.codebook, vq.train(first.residual, 256, seed=1).codebook]
    beam = [first.codebook, vq.train_beam(vectors, [first.codebook], 256, mbest=5, seed=1).codebook]
    assert mean_error(unseen, beam, 5) < 0.98 * mean_error(unseen, greedy, 5)
    assert mean_error(vectors, beam, 5) > mean_error(vectors, greedy, 5)


@pytest.mark.parametrize("width", [10, 40])
def test_beam_training_depends_on_the_seed_and_not_on_threads(width):
    vectors, before = normal(49, 5003, width), [normal(50, 32, width)]
    one, two, other = (
        vq.train_beam(vectors, before, 64, mbest=4, seed=s, threads=t) for s, t in ((1, 1), (1, 2), (2, 1))
    )
    assert one.codebook.tobytes() == two.codebook.tobytes()
    assert one.trace == two.trace
    assert one.codebook.tobytes() != other.codebook.tobytes()


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"before": []}, "before: no codebooks"),
        ({"before": [np.zeros((4, 2))]}, "codebook: 2 elements"),
        ({"before": [np.full((4, 3), np.nan)]}, "codebook: row 0 holds"),
        ({"size": 64}, "size: 64 "),
        ({"size": 0}, "size: 0"),
        ({"mbest": 0}, "mbest: 0"),
        ({"mbest": 10**6, "before": [np.zeros((10**4, 3))]}, "mbest: 1000000, expected at most"),
        ({"stop": float("nan")}, "stop: nan"),
        ({"threads": 0}, "threads: 0"),
        ({"vectors": np.repeat(normal(51, 3, 3), 20, axis=0)}, "size: 8 entries, expected fewer"),
    ],
)
def test_a_beam_stage_that_cannot_be_trained_is_refused_by_name(request_, says):
    with pytest.raises(InputError) as error:
        vq.train_beam(**{"vectors": normal(52, 40, 3), "before": [np.zeros((1, 3))], "size": 8, "mbest": 2, "seed": 0,
                         **request_})  # fmt: skip
    assert says in str(error.value)


# The nearest entry

numbers = some.floats(-100, 100, width=32)


@given(some.data(), some.integers(1, 40), some.integers(1, 70), some.integers(1, 12))
def test_nearest_is_the_brute_force_minimum(data, frames, size, width):
    vectors = data.draw(arrays(np.float32, (frames, width), elements=numbers))
    codebook = data.draw(arrays(np.float32, (size, width), elements=numbers))
    indices, errors = vq.nearest(vectors, codebook)
    exact = exact_errors(vectors, codebook)
    chosen = exact[np.arange(frames), indices]
    np.testing.assert_allclose(errors, chosen, rtol=1e-5, atol=1e-30)
    # Ties within the rounding of float32 squares of the largest number may fall either way.
    assert (chosen <= exact.min(axis=1) + 2e-6 * width * 200**2).all()
    for row, index in enumerate(indices):
        assert not (codebook[:index] == codebook[index]).all(axis=1).any(), f"vector {row}: not the first of equals"


@settings(max_examples=25)
@given(some.integers(0, 1000), some.integers(1, 90))
def test_nearest_follows_permutations(seed, size):
    vectors, codebook = normal(seed, 33, 5), normal(seed + 1, size, 5)
    frames, entries = (np.random.default_rng(seed).permutation(n) for n in (33, size))
    straight = vq.nearest(vectors, codebook)[0]
    np.testing.assert_array_equal(entries[vq.nearest(vectors[frames], codebook[entries])[0]], straight[frames])


def test_nearest_far_from_the_origin_keeps_its_precision():
    codebook = normal(10, 200, 6) + 3000
    vectors = codebook + np.float32(0.01) * normal(11, 200, 6)
    np.testing.assert_array_equal(vq.nearest(vectors, codebook)[0], np.arange(200))


# The search


def test_mbest_of_one_is_the_greedy_chain():
    vectors, codebooks = normal(12, 300, 4), [normal(13, 37, 4), 0.4 * normal(14, 20, 4), 0.2 * normal(15, 5, 4)]
    residual, greedy = vectors, []
    for codebook in codebooks:
        greedy.append(exact_errors(residual, codebook).argmin(axis=1))
        residual = residual - codebook[greedy[-1]]
    np.testing.assert_array_equal(vq.search(vectors, codebooks, 1), np.stack(greedy, axis=1))


@pytest.mark.parametrize("mbest", [33, 1000])
def test_mbest_of_all_entries_is_the_exhaustive_search(mbest):
    vectors, codebooks = normal(16, 60, 3), [normal(17, 33, 3), normal(18, 21, 3)]
    pairs = (codebooks[0][:, None] + codebooks[1]).reshape(-1, 3)
    best = exact_errors(vectors, pairs).argmin(axis=1)
    np.testing.assert_array_equal(vq.search(vectors, codebooks, mbest), np.stack(np.divmod(best, 21), axis=1))


def test_mbest_equals_the_plain_tree_search():
    vectors = normal(19, 80, 5)
    codebooks = [normal(20, 100, 5), 0.5 * normal(21, 70, 5), 0.3 * normal(22, 9, 5)]
    for row, indices in enumerate(vq.search(vectors, codebooks, 6)):
        paths = [((), vectors[row].astype(float))]
        for codebook in codebooks:
            grown = [((*path, i), rest - entry) for path, rest in paths for i, entry in enumerate(codebook)]
            paths = sorted(grown, key=lambda pair: np.square(pair[1]).sum())[:6]
        assert tuple(indices) == paths[0][0]


@pytest.mark.slow
def test_more_survivors_lower_the_mean_error():
    vectors, codebooks = normal(23, 2000, 6), [normal(24, 64, 6), 0.6 * normal(25, 64, 6), 0.4 * normal(26, 64, 6)]
    errors = [mean_error(vectors, codebooks, mbest) for mbest in (1, 2, 4, 8, 64)]
    assert all(np.diff(errors) < 0)


def test_other_elements_weigh_nothing_but_are_decoded():
    vectors, codebooks = normal(27, 200, 5), [normal(28, 40, 5), normal(29, 30, 5)]
    inner = vq.search(vectors[:, 1:3], [c[:, 1:3] for c in codebooks], 4)
    indices = vq.search(vectors, codebooks, 4, st=1, en=2)
    np.testing.assert_array_equal(indices, inner)
    sums = codebooks[0][indices[:, 0]] + codebooks[1][indices[:, 1]]
    np.testing.assert_array_equal(vq.decode(indices, codebooks), sums)


def slow_vectors(seed, frames, width=3):
    """Vectors that change slowly, as those of speech do."""
    return lfilter([0.2], [1, -0.95], normal(seed, frames, width), axis=0).astype(np.float32)


@pytest.mark.parametrize(("stages", "mbest"), [(1, 1), (2, 3)])
def test_a_search_for_a_decoder_that_smooths_lowers_its_error(stages, mbest):
    vectors, rest = slow_vectors(1, 900), slow_vectors(2, 4000)
    codebooks = []
    for _ in range(stages):
        trained = vq.train(rest, 16, seed=1)
        codebooks.append(trained.codebook)
        rest = trained.residual
    plain = vq.quantise(vectors, codebooks, mbest)[1]
    indices, quantised = vq.quantise(vectors, codebooks, mbest, smooth=0.25)
    sent = vq.decode(indices, codebooks)
    wide = np.concatenate([sent[:1], sent, sent[-1:]]).astype(float)
    np.testing.assert_allclose(quantised, 0.5 * sent + 0.25 * (wide[:-2] + wide[2:]), atol=1e-6)

    def error(decoded):
        return np.square(vectors - decoded).mean()

    assert error(quantised) < 0.9 * error(vq.smoothed(plain, 0.25))
    assert error(quantised) < 0.75 * error(plain)
    # No entry could be changed alone for less error, once the sweeps are done: here in all but a few vectors.
    if stages == 1:
        better = 0
        for i in range(100, 160):
            for entry in codebooks[0]:
                other = sent.copy()
                other[i] = entry
                better += error(vq.smoothed(other, 0.25)) < error(quantised) - 1e-9
        assert better <= 6


def test_smoothing_of_0_is_the_plain_search_and_the_ends_are_their_own_neighbours():
    vectors, codebook = slow_vectors(3, 50), normal(4, 16, 3)
    for plain, none in zip(
        vq.quantise(vectors, [codebook], 2), vq.quantise(vectors, [codebook], 2, smooth=0), strict=True
    ):
        assert np.array_equal(plain, none)
    assert np.array_equal(vq.smoothed(codebook, 0), codebook)
    np.testing.assert_allclose(vq.smoothed(codebook[:1], 0.3), codebook[:1], rtol=1e-6)
    for few in (1, 2, 3, 4):
        assert len(vq.quantise(vectors[:few], [codebook], 1, smooth=0.25)[1]) == few


@pytest.mark.parametrize(
    "options", [{"smooth": 0.4}, {"smooth": -0.1}, {"smooth": 0.2, "send_every": 2}, {"smooth": 0.2, "a": 0.5}]
)
def test_smoothing_that_cannot_be_is_refused(options):
    with pytest.raises(InputError, match=f"smooth: {options['smooth']}, expected 0"):
        vq.quantise(normal(1, 9, 3), [normal(2, 4, 3)], 1, **options)


def test_equal_entries_yield_the_first():
    codebook = np.repeat(normal(30, 20, 3), 4, axis=0)
    assert (vq.search(normal(31, 100, 3), [codebook], 5) % 4 == 0).all()


def test_the_search_does_not_depend_on_threads_or_block_sizes(monkeypatch):
    vectors, codebooks = normal(32, 3001, 10), [normal(33, 513, 10), 0.5 * normal(34, 300, 10)]
    one, two = (vq.search(vectors, codebooks, 5, threads=t) for t in (1, 2))
    np.testing.assert_array_equal(one, two)
    monkeypatch.setattr(vq, "_BLOCK", 50_000)
    np.testing.assert_array_equal(one, vq.search(vectors, codebooks, 5))


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"mbest": 0}, "mbest: 0"),
        ({"codebooks": []}, "codebooks: none"),
        ({"codebooks": [np.zeros((4, 2))]}, "codebook: 2 elements"),
        ({"codebooks": [np.full((4, 3), np.inf)]}, "codebook: row 0 holds"),
        ({"st": 3}, "st, en: 3 to 2"),
        ({"vectors": np.zeros((0, 3))}, "vectors: shape"),
    ],
)
def test_what_cannot_be_searched_is_refused_by_name(request_, says):
    with pytest.raises(InputError) as error:
        vq.search(**{"vectors": normal(35, 9, 3), "codebooks": [normal(36, 8, 3)], "mbest": 2, **request_})
    assert says in str(error.value)


# Prediction


def processes(seed, number, frames, width, a, mean=0.0, deviation=10.0):
    """First-order processes [number * frames, width], one after the other, in dB as features are."""
    steps = np.random.default_rng(seed).normal(0, deviation * (1 - a**2) ** 0.5, (number, frames, width))
    steps[:, 0] /= (1 - a**2) ** 0.5
    return (lfilter([1], [1, -a], steps, axis=1) + mean).reshape(-1, width).astype(np.float32)


def test_the_fitted_coefficient_is_that_of_the_process_about_its_mean():
    for vectors, a in ((processes(60, 1, 20000, 3, 0.7, mean=50), 0.7), (normal(61, 20000, 3), 0)):
        assert vq.predictor(vectors[1:], vectors[:-1]) == pytest.approx(a, abs=0.01)
    assert vq.predictor(np.ones((9, 2)), np.ones((9, 2))) == 0
    assert vq.predictor(np.arange(1.0, 9)[:, None], np.arange(8.0)[:, None]) == 0.95


def test_what_prediction_leaves_is_what_the_process_is_driven_by():
    vectors = processes(62, 1, 5000, 3, 0.7)
    left = vq.prediction_residuals(vectors[1:], vectors[:-1], 0.7)
    np.testing.assert_array_equal(left, vectors[1:] - np.float32(0.7) * vectors[:-1])
    assert left.var() == pytest.approx(100 * (1 - 0.7**2), rel=0.05)


def test_one_path_takes_the_nearest_entries_to_what_the_decoders_past_leaves():
    vectors, codebooks = processes(63, 1, 50, 3, 0.8), [10 * normal(64, 16, 3), 4 * normal(65, 16, 3)]
    indices = vq.search_predictive(vectors, codebooks, 1, 0.75, reset_every=20)
    decoded = vq.decode_predictive(indices, codebooks, 0.75, reset_every=20)
    for frame, vector in enumerate(vectors):
        prediction = np.float32(0.75) * decoded[frame - 1] if frame % 20 else np.zeros(3, np.float32)
        (expected,) = vq.search((vector - prediction)[None], codebooks, 1)
        np.testing.assert_array_equal(indices[frame], expected)
        np.testing.assert_allclose(decoded[frame], prediction + vq.decode(expected[None], codebooks)[0], rtol=1e-6)


@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("stretch", [None, 3])
def test_enough_paths_find_the_least_error_that_any_indices_give_interpolated_vectors_among_it(every, stretch):
    vectors, codebook = processes(77, 1, 4 * every + 1, 2, 0.8), 8 * normal(78, 3, 2)
    sent = -(-len(vectors) // every)

    def error(indices):
        decoded = vq.decode_predictive(np.array(indices)[:, None], [codebook], 0.7, reset_every=stretch)
        squared = np.square(vectors - vq.interpolated(decoded, every, len(vectors))).sum(axis=1)
        # What lies between two stretches is in none of them.
        inside = (np.arange(len(vectors)) % (every * (stretch or sent))) <= every * ((stretch or sent) - 1)
        return squared[inside].sum()

    least = min(itertools.product(range(3), repeat=sent), key=error)
    found = vq.search_predictive(vectors, [codebook], 3**sent, 0.7, send_every=every, reset_every=stretch)[:, 0]
    assert error(found) == pytest.approx(error(least), rel=1e-5)


def test_more_paths_lower_the_error():
    vectors, codebooks = processes(79, 20, 50, 4, 0.85), [normal(80, 16, 4) * 8, normal(81, 16, 4) * 4]
    errors = []
    for mbest in (1, 4, 16):
        indices = vq.search_predictive(vectors, codebooks, mbest, 0.85, reset_every=50)
        errors.append(vq.mean_squared_error(vectors, vq.decode_predictive(indices, codebooks, 0.85, reset_every=50)))
    assert errors[2] < 0.95 * errors[1] < 0.9 * errors[0]


def test_each_stretch_is_searched_as_if_it_were_alone():
    vectors, codebooks = processes(82, 1, 55, 3, 0.8), [10 * normal(83, 16, 3), 4 * normal(84, 16, 3)]
    indices = vq.search_predictive(vectors, codebooks, 4, 0.75, send_every=2, reset_every=10)
    for start in range(0, 28, 10):
        # Up to what is sent last: what comes after it belongs to no stretch.
        alone = vectors[2 * start : min(2 * (start + 9) + 1, 55)]
        expected = vq.search_predictive(alone, codebooks, 4, 0.75, send_every=2)
        np.testing.assert_array_equal(indices[start : start + 10], expected)


def test_vectors_that_are_not_counted_decide_nothing():
    vectors, codebooks = normal(64, 23, 3), [normal(65, 8, 3), normal(66, 8, 3) / 3]
    filled = np.concatenate([vectors, normal(67, 7, 3) + 5])
    options = {"send_every": 2, "reset_every": 5}
    found = vq.search_predictive(filled, codebooks, 4, 0.8, counted=np.arange(15) < 12, **options)
    np.testing.assert_array_equal(found[:12], vq.search_predictive(vectors, codebooks, 4, 0.8, **options))


def test_when_one_vector_is_sent_it_does_not_matter_how_few_are():
    vectors, codebook = normal(68, 9, 3), normal(69, 8, 3)
    one, other = (vq.search_predictive(vectors, [codebook], 2, 0.8, send_every=every) for every in (9, 10**15))
    np.testing.assert_array_equal(one, other)
    assert one.shape == (1, 1)


def test_with_a_coefficient_of_0_it_is_the_search_without_prediction():
    vectors, codebooks = normal(66, 300, 3), [normal(67, 16, 3), 0.4 * normal(68, 16, 3)]
    indices = vq.search_predictive(vectors, codebooks, 3, 0, reset_every=7)
    np.testing.assert_array_equal(indices, vq.search(vectors, codebooks, 3))
    np.testing.assert_array_equal(vq.decode_predictive(indices, codebooks, 0), vq.decode(indices, codebooks))


def test_prediction_needs_fewer_bits_than_a_quantiser_without():
    a, vectors = 0.9, processes(69, 40, 200, 2, 0.9)
    without = [vq.train(vectors, 16, seed=1).codebook]
    codebooks = [vq.train(vq.prediction_residuals(vectors[1:], vectors[:-1], a), 8, seed=1).codebook]
    indices = vq.search_predictive(vectors, codebooks, 1, a, reset_every=200)
    decoded = vq.decode_predictive(indices, codebooks, a, reset_every=200)
    assert vq.mean_squared_error(vectors, decoded) < 0.8 * mean_error(vectors, without, 1)


@pytest.mark.parametrize(("a", "frames"), [(0.6, 6), (0.7, 8), (0.8, 13), (0.9, 27), (0.95, 55)])
def test_a_lost_frame_is_made_up_for_within_the_frames_stated(a, frames):
    # The difference begins as what was lost of 8 dB RMS in all, the loss of one frame in each stretch.
    vectors, codebooks = processes(70, 300, 80, 20, a, mean=5), [normal(71, 64, 20)]
    indices = vq.search_predictive(vectors, codebooks, 1, a, reset_every=80)
    part = vq.decode(indices[10::80], codebooks)
    codebooks[0] *= 8 / np.sqrt(np.square(part).mean())
    lost = np.zeros(len(vectors), bool)
    lost[10::80] = True
    heard, meant = (vq.decode_predictive(indices, codebooks, a, reset_every=80, lost=which) for which in (lost, None))
    rms = np.sqrt(np.square(heard - meant).reshape(300, 80, 20).mean(axis=(0, 2)))
    assert rms[10] == pytest.approx(8, rel=1e-3) and (rms[:10] == 0).all()
    assert (rms[10 + frames :] < 0.5).all() and rms[10 + frames - 1] >= 0.5
    np.testing.assert_allclose(rms[10:30], 8 * a ** np.arange(20), rtol=0.01)


@pytest.mark.parametrize("a", [-0.1, 1, 0.9999999999, float("nan")])
def test_a_coefficient_by_which_losses_would_not_fade_is_refused(a):
    vectors, codebooks = normal(72, 9, 3), [normal(73, 8, 3)]
    for function in (
        lambda: vq.prediction_residuals(vectors, vectors, a),
        lambda: vq.search_predictive(vectors, codebooks, 1, a),
        lambda: vq.decode_predictive(np.zeros((9, 1), int), codebooks, a),
    ):
        with pytest.raises(InputError, match="prediction coefficient"):
            function()


def test_stretches_and_vectors_before_that_cannot_be_are_refused():
    vectors = normal(74, 9, 3)
    with pytest.raises(InputError, match="reset_every: 0"):
        vq.search_predictive(vectors, [vectors], 1, 0.5, reset_every=0)
    for function in (vq.predictor, lambda *pairs: vq.prediction_residuals(*pairs, 0.5)):
        with pytest.raises(InputError, match=r"vectors before: shape \(8, 3\), expected \(9, 3\)"):
            function(vectors, vectors[:8])


# Intervals


@given(frames=some.integers(1, 40), every=some.integers(1, 9))
def test_what_lies_on_straight_lines_between_vectors_sent_is_had_back_exactly(frames, every):
    knots = normal(75, 41, 3)
    lines = vq.interpolated(knots[: -(-frames // every)], every, frames)
    np.testing.assert_array_equal(lines[::every], knots[: len(lines[::every])])
    sent = len(lines[::every])
    for frame, vector in enumerate(lines):
        share, first = frame % every / every, knots[frame // every]
        expected = (1 - share) * first + share * knots[min(frame // every + 1, sent - 1)]
        np.testing.assert_allclose(vector, expected, atol=1e-6)


@pytest.mark.parametrize(("sent", "every", "says"), [(3, 2, "found 3, expected 4"), (7, 0, "every: 0")])
def test_another_number_of_vectors_sent_is_refused(sent, every, says):
    with pytest.raises(InputError, match=says):
        vq.interpolated(normal(76, sent, 2), every, 7)


# Numbers about a search


def test_usage_counts_every_entry_of_every_stage():
    indices = np.array([[0, 2], [3, 2], [0, 0]])
    assert [counts.tolist() for counts in vq.usage(indices, [4, 3])] == [[2, 0, 0, 1], [1, 0, 2]]


@pytest.mark.parametrize("indices", [[[4, 0]], [[-1, 0]], [[0]]])
def test_indices_beyond_a_codebook_are_refused(indices):
    with pytest.raises(InputError, match="indices"):
        vq.decode(np.array(indices), [normal(37, 4, 2), normal(38, 4, 2)])


# The reference's own output


def small_codebooks(reference):
    """Two codebooks of 32 entries, the second trained on what the first leaves of the small training set."""
    return [read_f32(reference(f"golden/small_vq{stage}.f32"), 10) for stage in (1, 2)]


@pytest.mark.parametrize("mbest", [1, 5])
def test_big_dog_is_quantised_with_small_codebooks_as_by_vq_mbest(reference, mbest):
    latents, codebooks = read_f32(reference("golden/big_dog_l.f32"), 10), small_codebooks(reference)
    expected = read_f32(reference(f"golden/small_big_dog_l_hat_mbest{mbest}.f32"), 10)
    np.testing.assert_array_equal(vq.decode(vq.search(latents, codebooks, mbest), codebooks), expected)


@pytest.mark.parametrize(("mbest", "stages"), [(1, 1), (5, 2)])
def test_big_dog_is_quantised_as_by_vq_mbest(reference, mbest, stages):
    latents = read_f32(reference("golden/big_dog_l.f32"), 10)
    codebooks = [read_f32(reference(f"golden/vq{stage + 1}.f32"), 10) for stage in range(stages)]
    decoded = vq.decode(vq.search(latents, codebooks, mbest, threads=2), codebooks)
    expected = read_f32(reference(f"golden/big_dog_l_hat_mbest{mbest}.f32"), 10)
    assert (decoded == expected).all(axis=1).mean() >= 0.999


def test_variance_of_a_small_training_is_that_of_vqtrain(reference):
    vectors = read_f32(reference("golden/small_latents.f32"), 10)
    for stage, codebook in enumerate(small_codebooks(reference), 1):
        golden = np.loadtxt(reference(f"golden/small_vqtrain_stage{stage}.txt"))
        trained = vq.train(vectors, 32, seed=1)
        assert [size for size, _, _ in trained.trace] == golden[:, 0].tolist()
        # The splits are random, here and there.
        np.testing.assert_allclose([variance for _, variance, _ in trained.trace], golden[:, 1], rtol=0.03)
        vectors = vectors - codebook[vq.nearest(vectors, codebook)[0]]
        assert np.square(vectors, dtype=float).mean() == pytest.approx(golden[-1, 1], abs=1e-6), "as it says itself"


@pytest.mark.slow
def test_variance_at_every_size_is_that_of_vqtrain(reference):
    vectors = read_f32(reference("golden/latents.f32"), 10)
    for stage in (1, 2):
        golden = np.loadtxt(reference(f"golden/vqtrain_stage{stage}.txt"))
        trained = vq.train(vectors, 4096, seed=1, threads=2)
        assert [size for size, _, _ in trained.trace] == golden[:, 0].tolist()
        ratio = np.array([variance for _, variance, _ in trained.trace]) / golden[:, 1]
        assert (ratio[golden[:, 0] >= 64] <= 1.01).all()
        assert np.square(trained.residual, dtype=float).mean() == pytest.approx(trained.trace[-1][1], rel=1e-5)
        vectors = trained.residual
