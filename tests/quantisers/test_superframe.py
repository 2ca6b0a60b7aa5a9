"""Superframes: search, decoder and training of the predictive matrix quantiser."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlquant.core.errors import InputError
from mlquant.quantisers import superframe
from mlquant.quantisers.superframe import Stage, Superframes
from mlquant.quantisers.types import STABLE
from mlquant.vocoder import superframes


def quantiser(width=6, sizes=(8, 4), predict=0.7, seed=0):
    rng = np.random.default_rng(seed)
    codebooks = [rng.normal(0, 1 / (i + 1), (size, width)).astype(np.float32) for i, size in enumerate(sizes)]
    return Superframes(np.full(width, 3, np.float32), np.float32(predict) * np.eye(width, dtype=np.float32), codebooks)


def moving(count, width, seed=0, a=0.8):
    """A first-order process [count, width] of mean 3."""
    rng = np.random.default_rng(seed)
    x = np.zeros((count, width))
    for i in range(1, count):
        x[i] = a * x[i - 1] + rng.normal(0, 1, width)
    return (x + 3).astype(np.float32)


@pytest.mark.parametrize("frames", [2, 4, 8])
def test_the_transform_keeps_distances_and_comes_back(frames):
    x = np.random.default_rng(0).normal(0, 9, (5 * frames, 20)).astype(np.float32)
    vectors = superframes.together(x, frames)
    assert vectors.shape == (5, 20 * frames)
    assert np.allclose(np.square(vectors).sum(), np.square(x).sum(), rtol=1e-5)
    assert np.allclose(superframes.apart(vectors, frames), x, atol=1e-4)
    still = superframes.together(np.tile(x[:1], (frames, 1)), frames)
    assert np.allclose(still[0, 20:], 0, atol=1e-4)  # what does not move is in the first row


def test_one_path_without_waiting_takes_the_nearest_of_all_sums():
    q = quantiser(sizes=(8,))
    x = moving(40, 6)
    state = np.zeros(6, np.float32)
    for vector, row in zip(x, superframe.search(q, x, 1, 0), strict=True):
        predicted = q.predictor @ state
        errors = np.square(vector - q.mean - predicted - q.codebooks[0]).sum(axis=1)
        assert row[0] == errors.argmin()
        state = predicted + q.codebooks[0][row[0]]


def test_with_enough_paths_nothing_is_better_than_what_is_found():
    q, x = quantiser(width=3, sizes=(4,)), moving(5, 3)
    found = superframe.decode(q, superframe.search(q, x, 4**5, 5))
    every = np.stack(np.meshgrid(*[np.arange(4)] * 5, indexing="ij"), axis=-1).reshape(-1, 5, 1)
    least = min(np.square(superframe.decode(q, indices) - x).sum() for indices in every)
    assert np.square(found - x).sum() == pytest.approx(least, rel=1e-5)


@given(st.integers(1, 9), st.integers(0, 4), st.integers(1, 30), st.integers(0, 99))
def test_all_superframes_are_decided_once_and_in_order(paths, wait, count, seed):
    q, x = quantiser(), moving(count, 6, seed)
    searching = superframe.Search(q, paths, wait)
    found = [searching.push(x[i : i + 1]) for i in range(count)]
    assert [one is None for one in found] == [i < wait for i in range(count)]
    assert len([one for one in found if one is not None]) + len(searching.rest()) == count


def test_more_paths_and_more_waiting_lower_the_error():
    q, x = quantiser(), moving(400, 6)
    error = {
        (paths, wait): np.square(superframe.decode(q, superframe.search(q, x, paths, wait)) - x).mean()
        for paths, wait in ((1, 0), (8, 0), (8, 3))
    }
    assert error[8, 3] < error[8, 0] < error[1, 0]


def test_streams_together_are_searched_as_each_alone():
    q, x = quantiser(), [moving(50, 6, seed) for seed in range(3)]
    together = superframe._searched(q, np.stack(x), 4, 2)
    for one, indices in zip(x, together, strict=True):
        assert np.array_equal(superframe.search(q, one, 4, 2), indices)


def test_what_is_lost_fades():
    q = quantiser(predict=0.9)
    indices = superframe.search(q, moving(80, 6), 4, 0)
    lost = np.arange(80) == 20
    off = np.abs(superframe.decode(q, indices, lost=lost) - superframe.decode(q, indices)).max(axis=1)
    assert not off[:20].any() and off[20] > 0.1 and off[60] < 0.02 * off[20]


def test_training_beats_no_prediction_and_nears_the_bound():
    streams = [moving(3000, 4, seed) for seed in range(2)]
    held = moving(1000, 4, 9)
    errors = {}
    for predict in (True, False):
        q = superframe.train(streams, [Stage(16), Stage(16)], predict=predict)
        assert q.bits == 8 and [codebook.shape for codebook in q.codebooks] == [(16, 4), (16, 4)]
        errors[predict] = np.square(superframe.decode(q, superframe.search(q, held, 4, 2)) - held).mean()
        assert np.abs(np.linalg.eigvals(q.predictor)).max() <= STABLE + 1e-5
    # Of 8 bits for four elements a Gaussian of the innovation's variance, 1, keeps 2^-4; without prediction it is 2.8.
    assert errors[True] < 0.6 * errors[False]
    assert 1 / 16 < errors[True] < 3 / 16


def told(count, seed):
    """A first-order process [count, 3] that is moved by what is known beside [count, 2], and begins anew at times."""
    rng = np.random.default_rng(seed)
    known = np.stack([rng.normal(0, 1, count), rng.random(count) < 0.3], axis=1).astype(np.float32)
    x = np.zeros((count, 3))
    for i in range(1, count):
        x[i] = 0.9 * x[i - 1] * (1 - known[i, 1]) + 3 * np.abs(known[i, 0]) + rng.normal(0, 0.3, 3)
    return x.astype(np.float32), known


def test_what_is_known_beside_takes_part_in_the_prediction():
    streams, held = [told(4000, seed) for seed in range(2)], told(1000, 9)
    errors = {}
    for name, known in (("alone", None), ("told", [known for _, known in streams])):
        q = superframe.train([x for x, _ in streams], [Stage(16)], known=known)
        beside = held[1] if known else None
        found = superframe.search(q, held[0], 4, 0, beside)
        errors[name] = np.square(superframe.decode(q, found, beside) - held[0]).mean()
        assert np.abs(np.linalg.eigvals(q.predictor)).max() <= STABLE + 1e-5
    # Of the innovation, whose variance is 0.09, 4 bits for three elements keep about a quarter.
    assert errors["told"] < 0.06 < 5 * errors["told"] < errors["alone"]
    share, _ = q.told(held[1][:-1], held[1][1:])
    anew = held[1][1:, 1] == 1
    assert share[anew].mean() < 0.3 and share[~anew].mean() > 0.7  # the past is left where it does not matter


@pytest.mark.parametrize("beside", [False, True])
def test_an_error_fades_as_soon_as_is_asked(beside):
    x, known = told(2000, 0)
    for eight_bit in (False, True):
        options = {"known": [known] if beside else None, "hidden": [8], "eight_bit": eight_bit}
        q = superframe.train([x], [Stage(16)], largest=0.3, **options)
        assert np.abs(np.linalg.eigvals(q.predictor)).max() <= 0.3 + 1e-5


def test_tables_of_8_bits_cost_little():
    (x, known), (held, beside) = told(4000, 0), told(1000, 9)
    errors = {}
    for eight_bit in (False, True):
        q = superframe.train([x], [Stage(16)], known=[known], hidden=[8], eight_bit=eight_bit)
        found = superframe.search(q, held, 4, 0, beside)
        errors[eight_bit] = np.square(superframe.decode(q, found, beside) - held).mean()
        assert [len(b) for _, b in q.layers] == [8, 4]
    assert errors[True] < 1.3 * errors[False]
    again = superframe.rounded(q)
    assert np.allclose(again.predictor, q.predictor, rtol=1e-6)
    assert np.allclose(again.codebooks[0], q.codebooks[0], rtol=1e-6)


def test_what_is_lost_fades_whatever_is_known_beside():
    rng = np.random.default_rng(0)
    network = [(rng.normal(0, 3, (7, 4)).astype(np.float32), np.zeros(7, np.float32))]
    q = replace(quantiser(predict=0.9), layers=network)
    known = rng.normal(0, 1, (80, 2)).astype(np.float32)
    indices = superframe.search(q, moving(80, 6), 4, 0, known)
    lost = np.arange(80) == 20
    off = np.abs(superframe.decode(q, indices, known, lost) - superframe.decode(q, indices, known)).max(axis=1)
    assert not off[:20].any() and off[20] > 0.1 and off[60] < 0.02 * off[20]


@pytest.mark.parametrize("wait", [0, 2])
def test_a_search_decides_for_the_path_that_is_chosen(wait):
    q, x, given = quantiser(), moving(30, 6), []

    def last(paths):
        given.append(paths)
        return len(paths) - 1

    indices = superframe.search(q, x, 4, wait, choose=last)
    assert len(indices) == len(given) == 30
    assert [paths.shape[1] for paths in given] == [1 + wait] * (30 - wait) + [*range(wait, 0, -1)]
    hat = superframe.decode(q, indices)
    assert np.allclose(hat, [paths[-1, 0] for paths in given], atol=1e-4)
    best = superframe.decode(q, superframe.search(q, x, 4, wait, choose=lambda paths: 0))
    assert np.array_equal(best, superframe.decode(q, superframe.search(q, x, 4, wait)))
    assert np.square(best - x).sum() < np.square(hat - x).sum()


def test_the_quick_way_to_quantise_is_near_the_stream():
    q, x = quantiser(), [moving(230, 6, 1), moving(10, 6, 2)]
    quick = superframe.quantised(q, x, 4, 2)
    assert [len(one) for one in quick] == [230, 10]
    exact = superframe.decode(q, superframe.search(q, x[0][:200], 4, 2))
    assert np.allclose(quick[0][:198], exact[:198], atol=1e-4)


def cost_of_a_wrong_bit(codebook):
    bits = range((len(codebook) - 1).bit_length())
    return sum(np.square(codebook - codebook[np.arange(len(codebook)) ^ (1 << bit)]).sum() for bit in bits)


def test_a_wrong_bit_costs_little_where_entries_are_in_order():
    drawn = np.random.default_rng(2).normal(0, 1, (256, 5)).astype(np.float32)
    codebook = superframe.ordered(drawn)
    assert np.array_equal(np.unique(codebook, axis=0), np.unique(drawn, axis=0))
    assert cost_of_a_wrong_bit(codebook) < 0.85 * cost_of_a_wrong_bit(superframe._halved(drawn))
    assert cost_of_a_wrong_bit(codebook) < 0.6 * cost_of_a_wrong_bit(drawn)


@pytest.mark.parametrize("bits", [0, 1, 2, 4])
def test_levels_in_order_keep_the_natural_binary_code(bits):
    """It is the best for equal steps: McLaughlin, Neuhoff and Ashley, IEEE Trans. Inf. Theory 41, 1995."""
    levels = np.arange(2.0**bits, dtype=np.float32)[:, None]
    shuffled = np.random.default_rng(1).permutation(levels)
    assert np.array_equal(superframe.ordered(shuffled), levels)


def test_too_few_vectors_are_refused():
    with pytest.raises(InputError, match="superframes: 9 to train on, expected at least 16"):
        superframe.train([moving(9, 4)], [Stage(16)])
    with pytest.raises(InputError, match="none of the streams has 8 superframes"):
        superframe.train([moving(6, 4), moving(6, 4)], [Stage(4)])
    with pytest.raises(InputError, match="paths, wait: found 0, 0"):
        superframe.Search(quantiser(), 0, 0)
