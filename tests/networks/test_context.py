"""The training of the context network of a codec."""

import numpy as np
import pytest

from mlquant.networks import context, dense
from mlquant.vocoder.features import energy_dB

SETTINGS = {"threads": 1, "seed": 1, "epochs": 12, "finetune": 4, "hidden": [16], "dropout": 0.0}
SETTINGS |= {"lr": 6e-3, "batch": 32}


def speech(count, seed):
    """Records [n, 92] of which the network can know y [4 n, 79]: voiced spectra fall by 20 dB more than b does."""
    rng = np.random.default_rng(seed)
    voiced = rng.integers(0, 2, (count, 4)).astype(np.float32)
    own = context.record(rng.normal(0, 3, (count, 80)), np.full((count, 4), 60.0), np.full((count, 4), 7.0), voiced)
    y = 20 * context.base(own).reshape(-1, 79) - 20 * voiced.reshape(-1, 1) * np.linspace(0, 1, 79)
    return own, (y - energy_dB(y)[:, None] + 60).astype(np.float32)


def trained(folder, **changes):
    sides = [[speech(600, 1)], [speech(600, 1)]]
    held = [speech(100, 2)], [speech(100, 2)]
    return context.train(SETTINGS | {"eight_bit": False} | changes, *sides, held, folder)


def error(layers):
    own, y = speech(100, 3)
    y_hat = context.spectra(layers, own, own, own)
    return np.square(context.loudness(y_hat) - context.loudness(y)).mean()


def test_it_learns_what_the_base_does_not_know(tmp_path):
    layers, curve = trained(tmp_path)
    assert [row[0] for row in curve] == [*range(1, 17)]
    nothing = [(W * 0, b * 0) for W, b in layers]
    assert error(layers) < 0.2 * error(nothing)
    again, _ = trained(tmp_path)
    assert all(
        np.array_equal(a, b) for one, two in zip(layers, again, strict=True) for a, b in zip(one, two, strict=True)
    )


def test_weights_of_8_bits_are_trained_as_they_are_rounded(tmp_path):
    layers, curve = trained(tmp_path / "rounded", eight_bit=True)
    for W, _ in layers:
        assert np.allclose(dense.rounded(W, 1), W, rtol=1e-6, atol=0)
        assert len(np.unique(np.rint(W[0] / np.abs(W[0]).max() * 127))) <= 255
    plain, of_plain = trained(tmp_path / "plain")
    assert curve[11] == of_plain[11] and curve[15] != of_plain[15]  # the first epochs do not round
    assert error(layers) < 1.2 * error(plain)


@pytest.mark.parametrize("axis", [0, 1])
def test_8_bits_have_a_scale_for_each_row_or_column(axis):
    table = np.random.default_rng(0).normal(0, 1, (6, 5)).astype(np.float32) * 10.0 ** np.arange(5, dtype=np.float32)
    table[2] = 0
    whole, scale = dense.eight_bit(table, axis)
    assert whole.dtype == np.int8 and scale.shape == ((1, 5) if axis == 0 else (6, 1))
    assert (np.abs(whole * scale - table) <= scale / 2 * 1.001).all()
