"""The networks have the shapes of the original's, learn, go on after a kill to the same bytes, and restore levels."""

import functools
import json
import os
import re
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from support.commands import run, succeeds
from support.networks import Stop, records_of, targets
from threadpoolctl import threadpool_info, threadpool_limits

from mlquant.core import disk, records
from mlquant.core.blocks import validate
from mlquant.core.errors import InputError
from mlquant.core.records import read_features, write_f32
from mlquant.networks import dense, inference, inputs, losses, model, training
from mlquant.networks.rows import ROWS, Row, latent_width
from mlquant.networks.settings import NetworkSettings, as_settings
from mlquant.vocoder import features
from mlquant.vocoder.chosen import loud as loud_of

SETTINGS = {
    "family": "autoencoder1",
    "nn": 2,
    "row": as_settings(ROWS["autoencoder1", 2]),
    "d": 4,
    "ncat": 1,
    "nvq": 1,
    "norm": True,
    "zero_mean": False,
    "dct": False,
    "lower_limit_dB": None,
    "symbols": False,
    "noise_var": 0.0,
    "loss": "sd",
    "gamma": 0.5,
    "optimiser": "adam",
    "lr": 1e-3,
    "schedule": "cosine",
    "batch": 32,
    "epochs": 2,
    "seed": 1,
    "thresh": None,
    "voiced_only": False,
    "held_out": 0.1,
    "threads": 1,
    "device": "auto",
    "mbest": 5,
    "refresh": 5,
}
MANIFOLD = {**SETTINGS, "family": "manifold", "nn": 1, "row": as_settings(ROWS["manifold", 1])}
MANIFOLD |= {"d": None, "loss": "wloss"}
NOISY = {**SETTINGS, "nn": 4, "row": as_settings(ROWS["autoencoder1", 4]), "noise_var": 1e-3}

# The specification's table, for d = 4, n frames and q quantisers: widths of each layer.
H = 512


def basic(n, q):
    return [(20 * n, H), (H, 4), (4, H), (H, 20 * n)]


LAYERS = {
    ("manifold", 1): lambda n, q: [(22, H), (H, H), (H, 79)],
    ("manifold", 3): lambda n, q: [(22, 40), (40, 40), (40, 79), (79, 79)],
    ("manifold", 4): lambda n, q: [(1, 32), (32, 32), (52, H), (544, H), (H, 79)],
    ("autoencoder1", 1): basic,
    ("autoencoder1", 2): basic,
    ("autoencoder1", 3): lambda n, q: [(20, 128), (128, 4), (4, 128), (128, 20)],
    ("autoencoder1", 4): basic,
    ("autoencoder1", 5): lambda n, q: [(20 * n, H), (H, 4 * q), (4 * q, H), (H, 20 * n)],
    ("autoencoder1", 6): basic,
    ("autoencoder1", 7): lambda n, q: [(20, 20)],
    ("autoencoder2", 1): lambda n, q: [(79, H), (H, 4), (4, H), (H, H), (H, 79)],
    ("autoencoder2", 2): lambda n, q: [(79, H), (H, 256), (256, 4), (4, 256), (256, H), (H, H), (H, 79)],
    ("autoencoder3", 1): lambda n, q: [(22, H), (H, H), (H, 4), (4, H), (H, H), (H, 79)],
    ("autoencoder3", 2): lambda n, q: [(22, 256), (256, 128), (128, 4), (4, 128), (128, 256), (256, 79)],
    ("autoencoder3", 3): lambda n, q: [(22, 22), (22, 22), (22, 22), (22, 4), (4, H), (H, H), (H, 79)],
    ("autoencoder3", 4): lambda n, q: [(22, H), (H, H), (H, 4), (4, 4), (4, H), (H, H), (H, H), (H, 79)],
    ("autoencoder4", 1): basic,
    ("autoencoder4", 2): lambda n, q: [(20, 64), (64, H), (H, 4), (4, H), (H, 64), (64, 20)],
    ("autoencoder4", 3): lambda n, q: [(20, 64), (64, 64), (64, 4), (4, 64), (64, 64), (64, 20)],
    ("autoencoder4", 4): lambda n, q: [(20, H), (H, 256), (256, 4), (4, 256), (256, H), (H, 20)],
    ("autoencoder4", 5): lambda n, q: [(20, H), (H, 256), (256, 4), (4, 256), (256, H), (H, 20)],
    ("autoencoder4", 6): lambda n, q: [(20, H), (H, 256), (256, 4), (4, 256), (256, H), (H, 20)],
}
CONV, FSQ, VQ, RESIDUAL_VQ = (("autoencoder1", nn) for nn in (3, 5, 6, 7))
PITCH, NORMALISED = ("manifold", 4), ("autoencoder4", 6)
NO_LATENTS = [("manifold", 1), ("manifold", 3), PITCH, RESIDUAL_VQ]
RELU = [*(("autoencoder1", nn) for nn in (1, 3, 6)), *(("autoencoder4", nn) for nn in (1, 2, 3, 4))]
NOISE = [("autoencoder1", 4), ("autoencoder3", 1), ("autoencoder4", 5), NORMALISED]
PLAIN = [key for key in LAYERS if key not in (PITCH, CONV, FSQ, VQ, RESIDUAL_VQ, NORMALISED)]
WITH_LATENTS = [key for key in LAYERS if key not in NO_LATENTS]
B_TO_B = [key for key in LAYERS if key[0] in ("autoencoder1", "autoencoder4")]
TO_Y = [key for key in LAYERS if key not in B_TO_B]

# Each with the numbers of frames and of quantisers that it may have.
FRAMES = {**dict.fromkeys([("autoencoder1", 2), ("autoencoder1", 4), FSQ], (1, 3)), CONV: (4, 8, 12)}
SHAPES = [
    (*key, n, q)
    for key in LAYERS
    for n in FRAMES.get(key, (1,))
    for q in ((1, 3) if key in (FSQ, RESIDUAL_VQ) else (1,))
]

every = pytest.mark.parametrize(("family", "nn"), LAYERS)
every_shape = pytest.mark.parametrize(("family", "nn", "ncat", "nvq"), SHAPES)


def settings_of(family, nn, **changes):
    own = {"d": None if (family, nn) in NO_LATENTS else 4, "ncat": FRAMES.get((family, nn), [1])[0]}
    settings = {**SETTINGS, "family": family, "nn": nn, **own}
    if (family, nn) in ROWS:
        settings["row"] = as_settings(ROWS[family, nn])
    else:
        del settings["row"]
    return settings | changes


def widths(family, n):
    """Inputs and outputs of a network of n frames."""
    inputs = {"manifold": 22, "autoencoder2": 79, "autoencoder3": 22}.get(family, 20 * n)
    return inputs, 20 * n if family in ("autoencoder1", "autoencoder4") else 79


def data(family, nn):
    """Features and targets to train a network of this row on, one array each."""
    # Convolutions have no more latents for four frames than others have for one.
    array = records_of(75).repeat(4, axis=0) if (family, nn) == CONV else records_of(300)
    return [array], None if family in ("autoencoder1", "autoencoder4") else [targets(array)]


def seen_by(family, array):
    """What a network of this family takes at work: y or records."""
    return targets(array) if family == "autoencoder2" else array


def untrained(settings):
    torch.set_num_threads(1)
    torch.manual_seed(3)
    return model.Network(settings).eval()


def at_work(settings):
    """The same network as the commands use it, from array to array."""
    return inference.at_work(
        settings, {name: array.numpy() for name, array in untrained(settings).state_dict().items()}
    )


def in_torch(folder):
    """A trained network and its settings."""
    settings = disk.read_json(folder / "settings.json")
    network = model.Network(settings).eval()
    network.load_state_dict(safetensors.torch.load_file(folder / "weights.safetensors"))
    return network, settings


def layers_of(network):
    return [m for m in network.modules() if isinstance(m, torch.nn.Linear | torch.nn.Conv1d)]


def apply(layer, value):
    """A linear layer in float64, or a convolution of three values along the first axis with zeros around."""
    weight, bias = (p.detach().double().numpy() for p in (layer.weight, layer.bias))
    if weight.ndim == 2:
        return value @ weight.T + bias
    padded = np.pad(value, ((1, 1), (0, 0)))
    return sum(padded[k : k + len(value)] @ weight[:, :, k].T for k in range(3)) + bias


def relu(value):
    return np.maximum(value, 0)


# --- shapes ----------------------------------------------------------------------------------------------


def test_all_networks_of_the_specification_are_there():
    assert set(ROWS) == set(LAYERS)


@every_shape
def test_a_network_is_its_row_of_the_table(family, nn, ncat, nvq):
    settings, key = settings_of(family, nn, ncat=ncat, nvq=nvq), (family, nn)
    network, expected = untrained(settings), LAYERS[key](ncat, nvq)
    assert [tuple(layer.weight.shape[1::-1]) for layer in layers_of(network)] == expected
    normalised = [m.num_features for m in network.modules() if isinstance(m, torch.nn.BatchNorm1d)]
    assert normalised == ([512, 256, 256, 512] if key == NORMALISED else [])
    kernel = 3 if key == CONV else 1
    parameters = sum(kernel * i * o + o for i, o in expected) + 2 * sum(normalised)  # codebooks are none
    assert sum(p.numel() for p in network.parameters()) == parameters
    inputs, outputs = widths(family, ncat)
    x = torch.randn(7, inputs)
    assert network(x).shape == (7, outputs)
    if key in WITH_LATENTS:
        latents = network.encode(100 * x)
        width = {CONV: ncat, FSQ: 4 * nvq}.get(key, 4)
        assert latents.shape == (7, width) and latent_width(settings) == width
        assert latents.min() >= 0 if key in RELU else -1 <= latents.min() < 0 <= latents.max() <= 1
    else:
        assert latent_width(settings) is None
    assert network(-1000 * x).min() < 0 < network(1000 * x).max()  # no activation after the last layer


@pytest.mark.parametrize(("family", "nn"), PLAIN)
def test_hidden_layers_are_ReLU_and_the_bottleneck_is_as_in_the_table(family, nn):
    key = (family, nn)
    network, x = untrained(settings_of(family, nn)), torch.randn(5, widths(family, 1)[0])
    value, layers = x.double().numpy(), layers_of(network)
    bottleneck = None if key in NO_LATENTS else max(i for i, layer in enumerate(layers) if layer.out_features == 4)
    for i, layer in enumerate(layers):
        value = apply(layer, value)
        if i == bottleneck:
            value = relu(value) if key in RELU else np.tanh(value)
            np.testing.assert_allclose(network.encode(x).detach(), value, atol=1e-5)
        elif i < len(layers) - 1:
            value = relu(value)
    np.testing.assert_allclose(network(x).detach(), value, atol=1e-5)


def test_the_pitch_joins_twice_and_the_voicing_is_not_used():
    network, x = untrained(settings_of(*PITCH)), torch.randn(5, 22)
    pitch_1, pitch_2, first, second, last = layers_of(network)
    value = x.double().numpy()
    pitch = relu(apply(pitch_2, relu(apply(pitch_1, value[:, 20:21]))))
    hidden = relu(apply(first, np.column_stack([value[:, :20], pitch])))
    hidden = relu(apply(second, np.column_stack([hidden, pitch])))
    np.testing.assert_allclose(network(x).detach(), apply(last, hidden), atol=1e-5)
    x[:, 21] += 1
    np.testing.assert_allclose(network(x).detach(), apply(last, hidden), atol=1e-5)


@pytest.mark.parametrize("ncat", [4, 8, 12])
def test_convolutions_pool_four_frames_to_a_vector_and_repeat_it(ncat):
    network, x = untrained(settings_of(*CONV, ncat=ncat)), torch.randn(3, ncat, 20)
    into, bottleneck, out_of, last = layers_of(network)
    for frames, latents, output in zip(x, network.encode(x.flatten(1)), network(x.flatten(1)), strict=True):
        value = relu(apply(into, frames.double().numpy()))
        value = apply(bottleneck, value.reshape(-1, 2, 128).max(axis=1))
        value = relu(value.reshape(-1, 2, 4).max(axis=1))
        np.testing.assert_allclose(latents.detach(), value.ravel(), atol=1e-5)
        value = relu(apply(out_of, value.repeat(2, axis=0))).repeat(2, axis=0)
        np.testing.assert_allclose(output.detach(), apply(last, value).ravel(), atol=1e-5)


def test_finite_scalars_have_eight_levels_that_rise_with_the_latent():
    network, x = untrained(settings_of(*FSQ, nvq=2)), torch.randn(4000, 20)
    into, bottleneck, out_of, last = layers_of(network)
    bottleneck.weight.data *= 30  # into the ends of the tanh
    before = np.tanh(apply(bottleneck, relu(apply(into, x.double().numpy()))))
    latents = network.encode(x).detach().numpy()
    for element in range(8):
        assert len(np.unique(latents[:, element].round(5))) == 8
        assert (np.diff(latents[before[:, element].argsort(), element].round(5)) >= 0).all()
    assert abs(latents - before).max() < 0.27
    expected = apply(last, relu(apply(out_of, latents.astype(float))))
    np.testing.assert_allclose(network(x).detach(), expected, atol=1e-5)


@pytest.mark.parametrize("d", [10, 24])
def test_finite_scalars_of_a_wide_bottleneck_need_no_list_of_their_codes(d):
    assert untrained(settings_of(*FSQ, d=d)).encode(torch.randn(3, 20)).shape == (3, d)


def test_symbols_are_pairs_of_latents_of_magnitude_one_at_most():
    for family, nn in NOISE:
        x = torch.randn(200, widths(family, 1)[0])
        networks_of = [untrained(settings_of(family, nn, symbols=symbols)) for symbols in (False, True)]
        for network in networks_of:
            network.activation = lambda latents: torch.tanh(10 * latents)  # of all magnitudes
        free, limited = (network.encode(x).detach().double().numpy().reshape(-1, 2) for network in networks_of)
        magnitude = np.hypot(*free.T)
        assert 0.1 < (magnitude > 1).mean() < 0.9
        np.testing.assert_array_equal(limited[magnitude <= 1], free[magnitude <= 1])
        np.testing.assert_allclose(limited, free / np.maximum(magnitude, 1)[:, None], rtol=1e-5)


@pytest.mark.parametrize(("family", "nn"), NOISE)
def test_noise_is_added_to_the_latents_of_noisy_networks_in_training_only(family, nn):
    network = untrained(settings_of(family, nn, noise_var=0.01))
    x = torch.randn(4000, widths(family, 1)[0])
    seen = []
    network.decode = lambda latents: seen.append(latents) or latents
    network(x), network(x, torch.Generator().manual_seed(1)), network(x, torch.Generator().manual_seed(1))
    assert torch.equal(seen[1], seen[2])
    noise = (seen[1] - seen[0]).detach().numpy()
    assert noise.var() == pytest.approx(0.01, rel=0.05) and abs(noise.mean()) < 0.005
    assert abs(np.corrcoef(noise[1:, 0], noise[:-1, 0])[0, 1]) < 0.06  # drawn for each vector
    quiet = untrained(settings_of(family, nn))
    assert torch.equal(quiet(x), quiet(x, torch.Generator().manual_seed(1)))


def test_noise_on_symbols_keeps_its_ratio_to_their_energy():
    network = untrained(settings_of("autoencoder1", 4, symbols=True, noise_var=0.05))
    seen = []
    network.decode = lambda latents: seen.append(latents) or latents
    for gain in (0.1, 3.0):
        network.activation = lambda latents, gain=gain: torch.tanh(gain * latents)
        x = torch.randn(4000, 20)
        network(x), network(x, torch.Generator().manual_seed(1))
        quiet, noisy = (latents.detach().numpy() for latents in seen[-2:])
        energy = 2 * np.square(quiet).mean()
        assert (noisy - quiet).var() == pytest.approx(0.05 * energy, rel=0.05)
    assert energy > 0.1


# --- what a network sees ---------------------------------------------------------------------------------


@given(b=arrays(np.float64, (3, 20), elements=st.floats(-200, 200)))
def test_energy_is_the_sum_of_linear_energies(b):
    np.testing.assert_allclose(features.energy_dB(b), 10 * np.log10(np.sum(10 ** (b / 10), axis=1)), atol=1e-9)


def test_energy_holds_where_float64_would_not():
    np.testing.assert_allclose(features.energy_dB(np.full((2, 20), [[1e6], [-1e6]])), [1e6 + 13.0103, -1e6 + 13.0103])


def test_inputs_are_log10_amplitudes_of_unit_energy_with_log10_Wo_and_voicing():
    array = records_of(9)
    x = inputs.network_inputs(MANIFOLD, array)
    assert x.shape == (9, 22) and x.dtype == np.float32
    np.testing.assert_allclose(np.sum(10 ** (2 * x[:, :20].astype(float)), axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.diff(x[:, :20]), np.diff(array[:, :20]) / 20, atol=1e-5)
    np.testing.assert_allclose(x[:, 20:], np.column_stack([np.log10(array[:, 20]), array[:, 21]]), rtol=1e-6)
    plain = inputs.network_inputs({**SETTINGS, "norm": False}, array)
    np.testing.assert_allclose(plain, array[:, :20] / 20, rtol=1e-6)


@pytest.mark.parametrize("norm", [False, True])
def test_vectors_below_the_lower_limit_are_lifted_to_just_its_energy(norm):
    array = records_of(30)
    array[::3, :20] -= 60
    settings = settings_of("autoencoder4", 1, norm=norm)
    free, lifted = (inputs.network_inputs({**settings, "lower_limit_dB": dB}, array) for dB in (None, 10.0))
    if norm:  # a level is all that is changed
        np.testing.assert_allclose(lifted, free, atol=1e-6)
    else:
        quiet = np.arange(30) % 3 == 0
        np.testing.assert_array_equal(lifted[~quiet], free[~quiet])
        np.testing.assert_allclose(features.energy_dB(20 * lifted[quiet]), 10, atol=1e-5)
        np.testing.assert_allclose(np.diff(lifted), np.diff(free), atol=1e-5)


def test_a_network_of_y_sees_all_of_it_with_unit_energy():
    y = targets(records_of(9))
    x = inputs.network_inputs(settings_of("autoencoder2", 1), y)
    assert x.shape == (9, 79) and x.dtype == np.float32
    np.testing.assert_allclose(np.sum(10 ** (2 * x.astype(float)), axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.diff(x), np.diff(y) / 20, atol=1e-5)


@pytest.mark.parametrize("ncat", [1, 3])
def test_b_as_cosine_coefficients_is_orthonormal_frame_by_frame_and_undone(ncat):
    network = untrained(settings_of("autoencoder1", 2, dct=True, ncat=ncat))
    network.encoder, network.activation, network.decoder = (torch.nn.Identity() for _ in range(3))
    x = torch.randn(5, 20 * ncat)
    n = np.arange(20)
    basis = np.cos(np.pi * np.outer(2 * n + 1, n) / 40) * np.where(n == 0, 20**-0.5, 10**-0.5)
    np.testing.assert_allclose(basis.T @ basis, np.eye(20), atol=1e-12)
    np.testing.assert_allclose(network.encode(x).reshape(-1, 20), x.reshape(-1, 20).numpy() @ basis, atol=1e-5)
    np.testing.assert_allclose(network(x), x, atol=1e-5)
    np.testing.assert_allclose(network.encode(x).norm(dim=1), x.norm(dim=1), rtol=1e-5)


@pytest.mark.parametrize(
    ("family", "nn", "changes"),
    [
        *((*key, {}) for key in LAYERS),
        ("autoencoder1", 2, {"ncat": 3}),
        ("autoencoder1", 2, {"ncat": 3, "dct": True}),
        ("autoencoder4", 5, {"zero_mean": True}),
        ("autoencoder4", 5, {"zero_mean": True, "dct": True}),
    ],
)
def test_a_network_starts_at_the_mean_of_its_targets(family, nn, changes):
    settings = settings_of(family, nn, **changes)
    network = untrained(settings)
    frames = settings["ncat"]
    mean = torch.randn(widths(family, 1)[1]).repeat(frames)
    if changes.get("ncat"):
        mean = torch.randn(60)
    network.start_at(mean)
    layers_of(network)[-1].weight.data.zero_()  # a decoder that has learnt nothing
    output = network(torch.randn(3, widths(family, frames)[0])).detach()
    np.testing.assert_allclose(output, mean.repeat(3, 1), atol=1e-5)


# --- losses ----------------------------------------------------------------------------------------------

# In steps of 0.001: of amplitudes that are the same but for their rounding the difference is rounding alone.
vectors = arrays(np.float64, (3, 4), elements=st.integers(-3000, 3000).map(lambda n: n / 1000))


@given(estimate=vectors, target=vectors, gamma=st.floats(0, 1))
def test_losses_are_their_formulas(estimate, target, gamma):
    e, t = torch.from_numpy(estimate), torch.from_numpy(target)
    assert losses.sd(e, t).item() == pytest.approx(np.mean((estimate - target) ** 2), rel=1e-9)
    weight = np.minimum(10 ** (-(1 - gamma) * target), 30)
    expected = np.mean(((10**estimate - 10**target) * weight) ** 2)
    assert losses.wloss(e, t, gamma).item() == pytest.approx(expected, rel=1e-9, abs=1e-300)
    linear = np.mean((10**estimate - 10**target) ** 2)
    assert losses.wloss(e, t, 1.0).item() == pytest.approx(linear, rel=1e-9, abs=1e-300)


def test_the_weight_comes_from_the_target_and_stops_at_30():
    target = torch.tensor([[-100.0, -3.0, -2.0, 0.0, 2.0]])
    weight = losses.target_weight(target, 0.5)
    np.testing.assert_allclose(weight, [[30, 30, 10, 1, 0.1]], rtol=1e-6)
    estimate = target.clone().requires_grad_()
    losses.wloss(estimate + 0.1, target, 0.5).backward()
    assert torch.isfinite(estimate.grad).all()
    # With gamma 0 an error of x dB counts the same at every level.
    losses_at = [losses.wloss(torch.tensor([[y + 0.05]]), torch.tensor([[y]]), 0.0) for y in (-1.0, 0.0, 2.0)]
    np.testing.assert_allclose(losses_at, losses_at[0], rtol=1e-4)


def test_sd_in_dB2_of_a_constant_error_is_its_square():
    y = torch.randn(5, 79)
    assert losses.DB2 * losses.sd(y + 3 / 20, y).item() == pytest.approx(9, rel=1e-5)


# --- training set ----------------------------------------------------------------------------------------


def test_sequences_are_overlapping_and_span_neither_files_nor_gaps():
    one, two = records_of(10, seed=1), records_of(10, seed=2)
    one[4, :20] = -60  # below the threshold
    x, t, x_held, t_held = training.training_set(
        {**SETTINGS, "norm": False, "ncat": 2, "thresh": 10, "held_out": 0.2}, [one, two], None
    )
    starts = [0, 1, 2, 5, 6]  # of 8 training frames; 3-4 and 4-5 hold the quiet one
    expected = [one[i : i + 2, :20].ravel() for i in starts] + [two[i : i + 2, :20].ravel() for i in range(7)]
    np.testing.assert_allclose(x, np.array(expected) / 20, rtol=1e-6)
    np.testing.assert_array_equal(x, t)
    np.testing.assert_allclose(x_held, np.array([one[8:, :20].ravel(), two[8:, :20].ravel()]) / 20, rtol=1e-6)
    np.testing.assert_array_equal(x_held, t_held)


def test_manifold_targets_are_normalised_by_their_own_energy_and_voiced_only():
    array = records_of(50)
    y = targets(array)
    x, t, x_held, t_held = training.training_set({**MANIFOLD, "voiced_only": True}, [array], [y])
    assert x.shape == (36, 22) and t.shape == (36, 79) and len(x_held) == len(t_held) == 4
    assert (x[:, 21] == 1).all()
    np.testing.assert_allclose(np.sum(10 ** (2 * t.double().numpy()), axis=1), 1, rtol=1e-5)
    voiced = y[:45][array[:45, 21] > 0]
    np.testing.assert_allclose(20 * np.diff(t), np.diff(voiced), atol=1e-4)


def test_y_is_input_and_target_of_a_network_of_y_but_b_chooses_the_frames():
    array = records_of(50)
    y = targets(array) - np.float32(60)  # below the threshold, which is one for b
    array[4, :20] = -60
    settings = settings_of("autoencoder2", 1, voiced_only=True, thresh=10.0)
    x, t, x_held, t_held = training.training_set(settings, [array], [y])
    np.testing.assert_array_equal(x, t)
    np.testing.assert_array_equal(x_held, t_held)
    kept = [i for i in range(45) if i % 5 and i != 4]
    np.testing.assert_array_equal(x, inputs.normalised(y[kept]))


@pytest.mark.parametrize(
    ("changes", "which"),
    [
        ({"thresh": 1000}, "training"),
        ({"ncat": 100}, "training"),
        ({"held_out": 0.001}, "held-out"),
        ({"held_out": 0.1, "ncat": 7}, "held-out"),
    ],
)
def test_nothing_left_to_train_on_or_to_hold_out_is_said(changes, which, tmp_path):
    with pytest.raises(InputError, match=f"^{which} set: 0 vectors.*expected at least one"):
        training.train({**SETTINGS, **changes}, [records_of(60)], None, tmp_path / "net")
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize(
    ("settings", "features", "y"),
    [
        (MANIFOLD, [50], None),
        (MANIFOLD, [50], [40]),
        (MANIFOLD, [40], [50]),
        (MANIFOLD, [50, 50], [50]),
        (SETTINGS, [50], [50]),
        (settings_of("autoencoder2", 2), [50], None),
        (settings_of(*RESIDUAL_VQ), [50], [50]),
    ],
)
def test_targets_that_do_not_fit_the_features_or_the_network_are_refused(settings, features, y, tmp_path):
    made = y and [targets(records_of(frames)) for frames in y]
    with pytest.raises(InputError, match="expected"):
        training.train(settings, [records_of(frames) for frames in features], made, tmp_path / "net")


def test_a_pitch_of_zero_is_refused_where_features_are_read(tmp_path):
    array = records_of(50)
    array[7, 20] = 0
    write_f32(tmp_path / "b.f32", array)
    with pytest.raises(InputError, match="record 7 has Wo 0, expected"):
        read_features(tmp_path / "b.f32")


# --- training --------------------------------------------------------------------------------------------


FILES = ["losses.csv", "settings.json", "training.json", "weights.safetensors"]


def weights(folder):
    return (folder / "weights.safetensors").read_bytes()


@pytest.mark.parametrize(
    "changed",
    [
        {**SETTINGS, "epochs": 12},
        {**NOISY, "epochs": 20, "loss": "wloss", "ncat": 2},
        {**MANIFOLD, "epochs": 12, "gamma": 0.2},
        {**SETTINGS, "epochs": 20, "optimiser": "sgd", "lr": 0.2, "schedule": "constant", "batch": 8},
    ],
    ids=["sd", "noisy wloss of two frames", "manifold", "sgd"],
)
def test_the_loss_falls_and_the_files_tell_all(changed, tmp_path):
    array = records_of(600)
    y = [targets(array)] if changed["family"] == "manifold" else None
    training.train(changed, [array], y, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    curve = pd.read_csv(tmp_path / "losses.csv")
    assert list(curve) == ["epoch", "lr", "loss", "sd_dB2", "held_out_loss", "held_out_sd_dB2"]
    np.testing.assert_array_equal(curve["epoch"], np.arange(1, changed["epochs"] + 1))
    for column in ("loss", "sd_dB2", "held_out_loss", "held_out_sd_dB2"):
        assert curve[column].iloc[-1] < 0.6 * curve[column].iloc[0]
    if changed["loss"] == "sd":
        np.testing.assert_allclose(curve["sd_dB2"], 400 * curve["loss"], rtol=1e-5)
    assert disk.read_json(tmp_path / "settings.json") == changed
    with safetensors.safe_open(tmp_path / "weights.safetensors", "pt") as file:
        assert json.loads(file.metadata()["settings"]) == changed


def quick(family, nn):
    """Settings that train a network of this row in a moment."""
    changes = {"nvq": 2 if (family, nn) in (FSQ, RESIDUAL_VQ) else 1}
    changes |= {"noise_var": 1e-3 if (family, nn) in NOISE else 0.0}
    changes |= {"batch": 16 if (family, nn) == ("autoencoder3", 4) else 32}  # two narrow layers take more steps
    return settings_of(family, nn, **changes, epochs=6, lr=2e-3)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a row's network after a quick training; each is trained once."""

    @functools.cache
    def folder_of(family, nn):
        folder = tmp_path_factory.mktemp("row")
        training.train(quick(family, nn), *data(family, nn), folder)
        return folder

    return folder_of


@every
def test_each_network_learns_and_its_files_tell_all(made, family, nn):
    folder = made(family, nn)
    assert sorted(path.name for path in folder.iterdir()) == FILES
    curve = pd.read_csv(folder / "losses.csv")
    used = {VQ: ["entries_used_1"], RESIDUAL_VQ: ["entries_used_1", "entries_used_2"]}.get((family, nn), [])
    assert list(curve) == ["epoch", "lr", "loss", "sd_dB2", "held_out_loss", "held_out_sd_dB2", *used]
    for column in ("loss", "sd_dB2", "held_out_loss", "held_out_sd_dB2"):
        assert curve[column].iloc[-1] < 0.9 * curve[column].iloc[0]
    # In an epoch a vector uses one entry of each codebook.
    assert curve[used].map(lambda entries: 1 <= entries <= 270 and entries == int(entries)).all(axis=None)
    report = disk.read_json(folder / "training.json")
    assert list(report) == ["failed", "seconds", "device"] and report["failed"] is None and 0 <= report["seconds"] < 60
    network, settings = inference.load(folder / "weights.safetensors")
    assert settings == quick(family, nn) == disk.read_json(folder / "settings.json")
    # What the curve says of the held-out share is what the network then does.
    _, _, x, t = training.training_set(settings, *data(family, nn))
    held_out = training.sd_dB2(settings, torch.from_numpy(network.decode(network.encode(x.numpy()))), t).item()
    assert curve["held_out_sd_dB2"].iloc[-1] == pytest.approx(held_out, rel=1e-5)


def test_codebooks_and_scalars_are_trained_to_the_same_bytes_twice(made, tmp_path):
    for key in (FSQ, VQ, RESIDUAL_VQ):
        torch.manual_seed(99)  # nothing may follow from what was drawn before
        training.train(quick(*key), *data(*key), tmp_path / str(key[1]))
        for file in ("weights.safetensors", "losses.csv"):
            assert (tmp_path / str(key[1]) / file).read_bytes() == (made(*key) / file).read_bytes()


def test_latents_of_a_vector_quantiser_are_its_nearest_entries(made):
    loaded, settings = inference.load(made(*VQ) / "weights.safetensors")
    network = loaded.network
    entries = network.quantiser.codebook.double().numpy()
    assert entries.shape == (512, 4)
    latents = inference.encode(loaded, settings, records_of(200, seed=8))
    x = inputs.network_inputs(settings, records_of(200, seed=8)).astype(float)
    into, bottleneck, out_of, last = layers_of(network)
    before = relu(apply(bottleneck, relu(apply(into, x))))
    distance = np.linalg.norm(before[:, None] - entries, axis=2)
    nearest = entries[distance.argmin(axis=1)]
    assert (latents == nearest).all(axis=1).mean() > 0.98  # but for ties in float32
    assert np.isin(latents, entries).all() and 10 < len(np.unique(latents, axis=0)) <= 200
    assert network.entries_used.sum() == len(np.unique(latents, axis=0))
    output = network(torch.from_numpy(x).float()).detach()
    np.testing.assert_allclose(output, apply(last, relu(apply(out_of, latents.astype(float)))), atol=1e-5)


def test_residual_quantisers_quantise_b_and_what_is_left_of_it(made):
    network, settings = in_torch(made(*RESIDUAL_VQ))
    codebooks = network.quantiser.codebooks.double().numpy()
    assert codebooks.shape == (2, 512, 20)
    x = inputs.network_inputs(settings, records_of(100, seed=8)).astype(float)
    quantised = np.zeros_like(x)
    for entries in codebooks:
        distance = np.linalg.norm((x - quantised)[:, None] - entries, axis=2)
        quantised += entries[distance.argmin(axis=1)]
    (last,) = layers_of(network)
    output = network(torch.from_numpy(x).float()).detach().numpy()
    same = np.isclose(output, apply(last, quantised), atol=1e-5).all(axis=1)
    assert same.mean() > 0.98  # but for ties in float32


def test_entries_decay_by_0_8_and_commitment_is_weighted_by_one_and_by_a_quarter():
    for key, weight in ((VQ, 1.0), (RESIDUAL_VQ, 0.25)):
        network, x = untrained(settings_of(*key)).train(), torch.randn(600, 20)
        assert [m.decay for m in network.modules() if hasattr(m, "cluster_size")] == [0.8]
        network.quantiser(torch.randn(1, 600, 20 if key == RESIDUAL_VQ else 4))  # starts the codebook
        before = x if key == RESIDUAL_VQ else network.activation(network.encoder(x))
        entries = (network.quantiser.codebook if key == VQ else network.quantiser.codebooks[0]).clone()
        error = torch.cdist(before, entries).min(dim=1).values ** 2 / before.shape[1]
        network(x)
        assert network.commitment.item() == pytest.approx(weight * error.mean().item(), rel=1e-3)


def test_commitment_trains_the_encoder_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(training, "_loss", lambda settings, estimate, target: 0 * losses.sd(estimate, target))
    settings = settings_of(*VQ, epochs=1)
    training.train(settings, [records_of(100)], None, tmp_path)
    trained, _ = in_torch(tmp_path)
    torch.manual_seed(settings["seed"])
    start = model.Network(settings)
    moved = [not torch.equal(*pair) for pair in zip(start.parameters(), trained.parameters(), strict=True)]
    assert all(moved[:4]) and not any(moved[4:7])  # the last bias starts at the mean


def test_normalisation_is_by_what_was_learnt_and_not_by_the_batch(made):
    network, settings = in_torch(made(*NORMALISED))
    loaded, _ = inference.load(made(*NORMALISED) / "weights.safetensors")
    array = records_of(40, seed=8)
    alone = np.concatenate([inference.infer(loaded, settings, frame[None]) for frame in array])
    np.testing.assert_array_equal(inference.infer(loaded, settings, array), alone)
    x = torch.from_numpy(inputs.network_inputs(settings, array))
    value, linear = x.double().numpy(), layers_of(network)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm1d)]
    for layer, norm in zip(linear, [*norms[:2], None, *norms[2:], None], strict=True):
        value = apply(layer, value)
        if norm is not None:
            gain = norm.weight / (norm.running_var + norm.eps).sqrt()
            value = relu(((value - norm.running_mean.numpy()) * gain.detach().numpy()) + norm.bias.detach().numpy())
        elif layer is not linear[-1]:
            value = np.tanh(value)
    np.testing.assert_allclose(network(x).detach(), value, atol=1e-4)
    assert min(abs(norm.running_mean).max() for norm in norms) > 0.01
    assert not torch.allclose(network.train()(x)[:20], network(x[:20]), atol=1e-2)


def test_a_vector_left_alone_in_a_batch_does_not_end_a_normalised_training(tmp_path):
    array = records_of(108)  # 97 to train on: three batches of 32, and one more
    training.train(settings_of(*NORMALISED), [array], None, tmp_path)
    assert pd.read_csv(tmp_path / "losses.csv")["loss"].is_monotonic_decreasing


@pytest.mark.parametrize("ncat", [1, 3])
def test_the_mean_of_the_training_targets_is_removed_and_put_back(ncat, tmp_path):
    settings = {**SETTINGS, "ncat": ncat, "zero_mean": True, "norm": False, "optimiser": "sgd", "lr": 0.1}
    array = records_of(200)
    louder = array.copy()
    louder[:, :20] += np.float32(17)
    made = []
    for name, spectra in (("one", array), ("louder", louder)):
        training.train(settings, [spectra], None, tmp_path / name)
        network, _ = inference.load(tmp_path / name / "weights.safetensors")
        with safetensors.safe_open(tmp_path / name / "weights.safetensors", "pt") as file:
            mean = file.get_tensor("mean").numpy()
        np.testing.assert_allclose(mean, training.training_set(settings, [spectra], None)[0].mean(dim=0), atol=1e-5)
        made.append((inference.infer(network, settings, spectra), inference.encode(network, settings, spectra)))
    (one, latents), (other, same) = made
    np.testing.assert_allclose(same, latents, atol=1e-3)
    np.testing.assert_allclose(other[:, :20] - one[:, :20], 17, atol=0.01)


@pytest.mark.parametrize("changes", [{"dct": True}, {"zero_mean": True, "dct": True, "norm": False, "ncat": 2}])
def test_losses_are_those_of_b_whatever_is_done_to_it_inside(changes, tmp_path):
    settings, array = {**SETTINGS, **changes, "epochs": 3}, records_of(200)
    training.train(settings, [array], None, tmp_path)
    network, _ = inference.load(tmp_path / "weights.safetensors")
    held_out = array[180:]
    windows = [held_out[i : i + settings["ncat"]] for i in range(21 - settings["ncat"])]
    error = [(inference.infer(network, settings, window) - window)[:, :20] for window in windows]
    curve = pd.read_csv(tmp_path / "losses.csv")
    assert curve["held_out_sd_dB2"].iloc[-1] == pytest.approx(np.mean(np.square(error)), rel=1e-3)
    assert curve["sd_dB2"].iloc[-1] < 0.9 * curve["sd_dB2"].iloc[0]


def test_what_is_held_out_trains_nothing(tmp_path):
    one = records_of(200)
    other = one.copy()
    other[180:] = records_of(20, seed=9)
    for name, array in (("one", one), ("other", other)):
        training.train(SETTINGS, [array], None, tmp_path / name)
    tensors = [in_torch(tmp_path / name)[0].state_dict() for name in ("one", "other")]
    assert all(torch.equal(tensors[0][key], tensors[1][key]) for key in tensors[0])
    curves = [pd.read_csv(tmp_path / name / "losses.csv") for name in ("one", "other")]
    assert (curves[0]["loss"] == curves[1]["loss"]).all()
    assert (curves[0]["held_out_loss"] != curves[1]["held_out_loss"]).all()


def test_other_voices_take_the_place_of_what_is_held_out_of_each_file(tmp_path):
    one, other = records_of(200), records_of(60, seed=9)
    plain = training.training_set({**MANIFOLD, "voiced_only": True}, [one], [targets(one)])
    apart = training.training_set({**MANIFOLD, "voiced_only": True}, [one], [targets(one)], ([other], [targets(other)]))
    assert all(torch.equal(*pair) for pair in zip(plain[:2], apart[:2], strict=True))  # nothing more is trained on
    voiced = other[:, 21] > 0
    np.testing.assert_array_equal(apart[2], inputs.network_inputs(MANIFOLD, other)[voiced])
    np.testing.assert_array_equal(apart[3], inputs.normalised(targets(other))[voiced])
    none = training.training_set({**MANIFOLD, "voiced_only": True}, [one], [targets(one)], ([], None))
    assert all(torch.equal(*pair) for pair in zip(plain, none, strict=True))


def test_other_voices_are_measured_and_train_nothing(tmp_path):
    one, other = records_of(200), records_of(60, seed=9)
    training.train(SETTINGS, [one], None, tmp_path / "plain")
    training.train(SETTINGS, [one], None, tmp_path / "apart", ([other], None))
    tensors = [in_torch(tmp_path / name)[0].state_dict() for name in ("plain", "apart")]
    assert all(torch.equal(tensors[0][key], tensors[1][key]) for key in tensors[0])
    network, _ = inference.load(tmp_path / "apart/weights.safetensors")
    error = (inference.infer(network, SETTINGS, other) - other)[:, :20]
    curve = pd.read_csv(tmp_path / "apart/losses.csv")
    assert curve["held_out_sd_dB2"].iloc[-1] == pytest.approx(np.mean(np.square(error)), rel=1e-3)


@pytest.mark.parametrize(
    ("trained", "held_out"),
    [(MANIFOLD, (40, None)), (MANIFOLD, (40, 50)), (SETTINGS, (40, 40)), (settings_of("autoencoder2", 2), (40, None))],
)
def test_targets_of_other_voices_must_fit_them(trained, held_out):
    y = None if trained is SETTINGS else [targets(records_of(50))]
    other_y = held_out[1] and [targets(records_of(held_out[1]))]
    with pytest.raises(InputError, match=r"^target: "):
        training.training_set(trained, [records_of(50)], y, ([records_of(held_out[0])], other_y))


@given(lr=st.floats(1e-6, 10), at=st.floats(0, 1))
def test_the_learning_rate_falls_as_half_a_cosine(lr, at):
    cosine = {"lr": lr, "schedule": "cosine"}
    assert training.learning_rate(cosine, 0) == lr and training.learning_rate(cosine, 1) == 0
    assert training.learning_rate(cosine, 0.5) == pytest.approx(lr / 2)
    assert training.learning_rate(cosine, at) <= lr
    assert training.learning_rate({"lr": lr, "schedule": "constant"}, at) == lr


def test_a_loss_that_is_not_finite_names_the_epoch_and_the_rate(tmp_path):
    with pytest.raises(InputError) as error:
        training.train(
            {**SETTINGS, "optimiser": "sgd", "lr": 1e6, "epochs": 50}, [records_of(300)], None, tmp_path / "net"
        )
    message = str(error.value)
    assert re.match(r"epoch \d+: the loss is (nan|inf)", message) and "\n" not in message
    assert message.endswith("lower the setting lr (now 1e+06)")
    assert not list(tmp_path.glob("net/*"))


def feature_file(folder):
    write_f32(folder / "b.f32", records_of(600))
    return folder / "b.f32"


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"nn": 4, "noise_var": 1e-3},
        {"norm": False, "ncat": 2},
        {"epochs": 4},
        {"loss": "sd", "norm": False, "schedule": "constant"},  # it gives a constant, or worse
    ],
)
def test_a_training_that_stays_worse_than_a_constant_ends_and_names_the_rate(tmp_path, changed):
    lost = {"family": "autoencoder1", "nn": 2, "d": 10, "lr": 0.1, "batch": 32, "epochs": 100} | changed
    ended = run("train", "--settings", json.dumps(lost), "--features", feature_file(tmp_path), "-o", tmp_path / "net")
    assert ended.status == 1 and ended.err[-1].endswith("lower the setting lr (now 0.1)")
    epoch, loss, patience, constant = re.match(
        r"mlquant train: epoch (\d+): the loss is (\S+) \(SD \S+ dB\^2\), after (\d+) epochs of more than the (\S+) ",
        ended.err[-1],
    ).groups()
    assert int(patience) <= int(epoch) <= 40 and float(loss) > float(constant)
    assert not list(tmp_path.glob("net/weights*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "changed",
    [
        {"lr": 1e-6, "optimiser": "sgd"},  # hardly learns
        {"nn": 4, "noise_var": 2.0, "lr": 2e-3},  # noise drowns everything
        {"nn": 4, "noise_var": 0.5, "symbols": True, "lr": 2e-3},
        {"family": "autoencoder4", "nn": 6, "lr": 1e-3, "noise_var": 1.0},
    ],
)
def test_a_training_that_has_learnt_little_yet_is_not_stopped(tmp_path, changed):
    slow = {"family": "autoencoder1", "nn": 2, "d": 10, "batch": 32, "epochs": 20} | changed
    words = ["--settings", json.dumps(slow), "--features", feature_file(tmp_path)]
    assert run("train", *words, "-o", tmp_path / "net").status == 0


@pytest.mark.parametrize("loss", ["sd", "wloss"])
def test_no_constant_output_has_less_loss_than_the_one_that_trainings_are_compared_with(loss):
    target = torch.from_numpy(targets(records_of(300)) / 20)
    settings = {**MANIFOLD, "loss": loss}
    least, sd = training._of_a_constant(settings, target)
    mean = target.mean(dim=0).requires_grad_()
    optimiser = torch.optim.Adam([mean], lr=0.01)
    for _ in range(300):
        optimiser.zero_grad()
        found = training._loss(settings, mean.expand_as(target), target)
        found.backward()
        optimiser.step()
    assert least == pytest.approx(found.item(), rel=1e-3)
    assert sd == pytest.approx(400 * target[:, 3:74].var(dim=0, correction=0).mean().item(), rel=1e-4)


def test_a_device_that_is_not_there_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="device: found cuda, but torch finds none here"):
        training.train({**SETTINGS, "device": "cuda"}, [records_of(100)], None, tmp_path)
    training.train(SETTINGS, [records_of(100)], None, tmp_path / "auto")
    assert json.loads((tmp_path / "auto/training.json").read_text())["device"] == "cpu"


@pytest.mark.parametrize("error", [RuntimeError, AssertionError, torch.OutOfMemoryError])
def test_a_device_that_is_found_and_cannot_be_used_is_told_in_a_line(tmp_path, monkeypatch, error):
    def ones(*shape, made=torch.ones, **options):
        if options.get("device") == "cuda":
            warnings.warn("the GPU is old", stacklevel=2)
            raise error("CUDA error: no kernel image\nis available")
        return made(*shape, **options)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", ones)
    write_f32(tmp_path / "b.f32", records_of(100))
    reason = "that of this machine cannot be used: CUDA error: no kernel image"
    words = ["--features", tmp_path / "b.f32", "-o"]
    ended = succeeds("train", "--settings", json.dumps(SETTINGS), *words, tmp_path / "auto")
    assert ended.err[0] == f"device: cpu in place of cuda, as {reason}"
    assert "".join(ended.err).count("CUDA error") == 1
    assert json.loads((tmp_path / "auto/training.json").read_text())["device"] == "cpu"
    cuda = ["--settings", json.dumps({**SETTINGS, "device": "cuda"}), "--keep-failure"]
    ended = run("train", *cuda, *words, tmp_path / "cuda")
    assert ended.status == 1
    assert ended.err == [f"mlquant train: device: found cuda, but {reason}, expected auto or cpu"]
    assert not (tmp_path / "cuda").exists(), "another machine may have one"


def test_a_device_that_torch_only_warns_of_is_told_in_a_line(tmp_path, monkeypatch, capsys):
    def too_old():
        warnings.warn("CUDA initialization: the driver is too old\nUpdate it", stacklevel=2)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", too_old)
    training.train(SETTINGS, [records_of(100)], None, tmp_path)
    told = capsys.readouterr().err
    assert told.count("cannot be used: CUDA initialization: the driver is too old\n") == 1 and "Update" not in told


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("settings", [NOISY, settings_of(*VQ)], ids=["dense", "quantised"])
def test_a_cuda_device_trains_what_the_cpu_does(tmp_path, settings):
    curves = []
    for device in ("cpu", "cuda", "auto"):
        training.train({**settings, "device": device}, [records_of(400)], None, tmp_path / device)
        curves.append(pd.read_csv(tmp_path / device / "losses.csv")["held_out_sd_dB2"])
    np.testing.assert_allclose(curves[1], curves[0], rtol=0.02)
    np.testing.assert_array_equal(curves[2], curves[1])


def test_another_seed_gives_another_network(tmp_path):
    for seed in (1, 2):
        training.train({**SETTINGS, "seed": seed}, [records_of(100)], None, tmp_path / str(seed))
    assert weights(tmp_path / "1") != weights(tmp_path / "2")


# --- the same bytes, whatever happens --------------------------------------------------------------------


LONG = {**NOISY, "epochs": 8}
LONG_VQ = settings_of(*VQ, epochs=8)


def stop_in_epoch_7(settings, folder):
    """The checkpoint of a training that was stopped there."""
    shuffle, epochs = torch.randperm, []

    def stop(*args, **options):
        if "generator" in options:  # a vector quantiser shuffles too
            epochs.append(len(epochs) + 1)
            if epochs[-1] == 7:
                raise Stop
        return shuffle(*args, **options)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(torch, "randperm", stop)
        training.train(settings, [records_of(200)], None, folder)
    assert [path.name for path in folder.iterdir()] == [training.CHECKPOINT]
    return (folder / training.CHECKPOINT).read_bytes()


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The weights of an undisturbed run, and the checkpoint of one that was stopped in epoch 7."""
    folder = tmp_path_factory.mktemp("stopped")
    training.train(LONG, [records_of(200)], None, folder / "whole")
    return weights(folder / "whole"), stop_in_epoch_7(LONG, folder / "part")


def go_on(folder, checkpoint, settings=LONG, array=None):
    """Train in a folder that holds this checkpoint."""
    folder.mkdir(exist_ok=True)
    (folder / training.CHECKPOINT).write_bytes(checkpoint)
    training.train(settings, [records_of(200) if array is None else array], None, folder)
    assert not (folder / training.CHECKPOINT).exists()
    return weights(folder)


def test_a_checkpoint_is_continued_and_it_says_so(stopped, tmp_path, capsys):
    assert go_on(tmp_path, stopped[1]) == stopped[0]
    err = capsys.readouterr().err
    assert "8 epochs after 5" in err and "epoch 6/8" in err and "epoch 5/8" not in err
    assert len(pd.read_csv(tmp_path / "losses.csv")) == 8


def test_a_vector_quantiser_goes_on_to_the_same_bytes(tmp_path):
    training.train(LONG_VQ, [records_of(200)], None, tmp_path / "whole")
    checkpoint = stop_in_epoch_7(LONG_VQ, tmp_path / "part")
    torch.manual_seed(99)
    assert go_on(tmp_path / "again", checkpoint, LONG_VQ) == weights(tmp_path / "whole")
    curves = [(tmp_path / name / "losses.csv").read_bytes() for name in ("whole", "again")]
    assert curves[0] == curves[1]


def opened(checkpoint):
    """What is known of the run in a checkpoint, and its tensors."""
    header = json.loads(checkpoint[8 : 8 + int.from_bytes(checkpoint[:8], "little")])
    return json.loads(json.loads(header["__metadata__"]["checkpoint"])["run"]), safetensors.torch.load(checkpoint)


def checkpoint_of(run, tensors):
    """A checkpoint of these under a checksum that is right."""
    text = json.dumps(run)
    entry = {"run": text, "sha256": training._checksum(text, tensors)}
    return safetensors.torch.save(tensors, {"checkpoint": json.dumps(entry)})


def test_seconds_before_a_stop_count(stopped, tmp_path):
    run, tensors = opened(stopped[1])
    assert checkpoint_of(run, tensors) == stopped[1] and 0 < run["seconds"] < 60
    go_on(tmp_path, checkpoint_of({**run, "seconds": 1000.0}, tensors))
    assert 1000 <= disk.read_json(tmp_path / "training.json")["seconds"] < 1060


@pytest.mark.parametrize("change", [{"lr": 2e-3}, {"epochs": 9}, {"seed": 2}, {"noise_var": 2e-3}, "data"])
def test_a_checkpoint_of_another_run_is_ignored(stopped, tmp_path, capsys, change):
    array = records_of(200, seed=5) if change == "data" else records_of(200)
    changed = LONG if change == "data" else {**LONG, **change}
    training.train(changed, [array], None, tmp_path / "fresh")
    capsys.readouterr()
    assert go_on(tmp_path / "found", stopped[1], changed, array) == weights(tmp_path / "fresh")
    assert "epoch 1/" in capsys.readouterr().err


@pytest.mark.parametrize(
    "damage",
    [
        *("empty", "text", "half", "pickle", "one bit", "a digit", "other shapes"),
        *("no optimiser", "no network", "no curve", "no seconds", "no identity"),
    ],
)
def test_a_damaged_checkpoint_is_ignored_and_it_says_so(stopped, tmp_path, capsys, damage):
    whole, checkpoint = stopped
    if damage == "empty":
        found = [b""]
    elif damage == "text":
        found = [b"no checkpoint\n" * 100]
    elif damage == "half":
        found = [checkpoint[: len(checkpoint) // 2]]
    elif damage == "pickle":
        found = [b"\x80\x04cos\nsystem\n(S'true'\ntR."]
    elif damage == "one bit":
        # In the tensors' own data, in several places: what lies between them is padding.
        found = []
        for place in (0.25, 0.5, 0.75):
            flipped = bytearray(checkpoint)
            flipped[int(len(checkpoint) * place)] ^= 0x40
            found.append(bytes(flipped))
    elif damage == "a digit":
        place = checkpoint.index(b"seconds") + len(b'seconds\\\\\\": ')
        assert checkpoint[place : place + 2] == b"0."
        found = [checkpoint[:place] + b"9" + checkpoint[place + 1 :]]
    else:
        run, tensors = opened(checkpoint)
        part = damage.split()[1]
        if part in run:
            del run[part]
        elif part == "shapes":
            tensors["optimiser.0.exp_avg"] = tensors["optimiser.0.exp_avg"][1:].clone()
        else:
            tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(part)}
        found = [checkpoint_of(run, tensors)]
    for data in found:
        assert go_on(tmp_path, data) == whole
        err = capsys.readouterr().err
        assert training.CHECKPOINT in err and "starting anew" in err and "epoch 1/8" in err


def train_process(folder, threads, **options):
    """`mlquant train` on the files of `folder.parent`, in a process of its own."""
    command = [sys.executable, "-m", "mlquant.cli", "train", "--settings", "s.json", "--features", "b.f32"]
    return subprocess.Popen(
        [*command, "-o", folder.name],
        cwd=folder.parent,
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)},
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.slow
def test_processes_give_the_same_bytes_with_any_threads_and_after_a_kill(tmp_path):
    records.write_f32(tmp_path / "b.f32", records_of(400))
    disk.write_json(tmp_path / "s.json", {**NOISY, "epochs": 24})
    settings, array = disk.read_json(tmp_path / "s.json"), records.read_f32(tmp_path / "b.f32", 22)
    training.train(settings, [array], None, tmp_path / "here")
    killed = train_process(tmp_path / "killed", 2)  # then continued with one
    for line in killed.stderr:
        if line.startswith("epoch 7/"):
            killed.kill()
    killed.communicate(timeout=60)
    assert killed.returncode == -9
    assert [path.name for path in (tmp_path / "killed").iterdir()] == [training.CHECKPOINT]
    again = train_process(tmp_path / "killed", 1)
    _, err = again.communicate(timeout=120)
    assert again.returncode == 0 and re.search(r"24 epochs after (5|10|15|20)$", err, re.MULTILINE)
    for file in ("weights.safetensors", "losses.csv"):
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "here" / file).read_bytes()


# --- inference -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "nn", "ncat", "nvq"), [shape for shape in SHAPES if shape[:2] in WITH_LATENTS])
@pytest.mark.parametrize("frames", [1, 8, 11])
def test_straight_through_is_encode_and_decode(family, nn, ncat, nvq, frames):
    for norm in [True, False] if (family, nn) in B_TO_B else [True]:
        settings = settings_of(family, nn, ncat=ncat, nvq=nvq, norm=norm, symbols=(family, nn) in NOISE)
        network, array = at_work(settings), seen_by(family, records_of(frames))
        before = array.copy()
        latents = inference.encode(network, settings, array)
        assert latents.shape == (-(-frames // ncat), latent_width(settings)) and latents.dtype == np.float32
        decoded = inference.decode(network, settings, latents, array)
        through = inference.infer(network, settings, array)
        assert decoded.tobytes() == through.tobytes()
        assert through.shape == (frames, 22 if (family, nn) in B_TO_B else 79) and through.dtype == np.float32
        if (family, nn) in B_TO_B:
            np.testing.assert_array_equal(through[:, 20:], array[:, 20:])  # Wo and voicing are passed on
        assert np.isfinite(through).all() and array.flags.writeable and array.tobytes() == before.tobytes()


def test_a_last_short_sequence_repeats_its_last_frame():
    settings = {**SETTINGS, "ncat": 4}
    network, array = at_work(settings), records_of(10)
    padded = np.concatenate([array, array[-1:], array[-1:]])
    np.testing.assert_array_equal(
        inference.encode(network, settings, array), inference.encode(network, settings, padded)
    )
    np.testing.assert_array_equal(
        inference.infer(network, settings, array), inference.infer(network, settings, padded)[:10]
    )


@pytest.mark.parametrize(("family", "nn"), [key for key in WITH_LATENTS if key != FSQ])  # its latents jump
def test_a_gain_passes_through_a_normalising_autoencoder(family, nn):
    settings = settings_of(family, nn)
    network, array = at_work(settings), seen_by(family, records_of(30))
    louder = array.copy()
    inference.spectrum(louder)[:] += 17
    one, other = (inference.spectrum(inference.infer(network, settings, a)) for a in (array, louder))
    np.testing.assert_allclose(other - one, 17, atol=1e-3)
    latents = [inference.encode(network, settings, a) for a in (array, louder)]
    np.testing.assert_allclose(*latents, atol=1e-5)


@pytest.mark.parametrize(("family", "nn"), [key for key in TO_Y if key[0] != "autoencoder2"])
def test_y_hat_gets_the_energy_of_y_or_else_of_b_and_is_made_as_if_voiced(family, nn):
    settings = settings_of(family, nn)
    network, array = at_work(settings), records_of(30)
    y = targets(array) + np.float32(5)
    y_hat = inference.infer(network, settings, array, y)
    assert y_hat.shape == (30, 79) and y_hat.dtype == np.float32
    forced = array.copy()
    forced[:, 21] = 1
    assert inference.infer(network, settings, forced, y).tobytes() == y_hat.tobytes()
    # What the network itself gives, log10 of amplitudes of about unit energy, plus an energy in dB.
    own = 20 * untrained(settings)(torch.from_numpy(inputs.network_inputs(settings, forced))).detach().double().numpy()
    np.testing.assert_allclose(y_hat - own, features.energy_dB(y)[:, None].repeat(79, 1), atol=1e-3)
    by_b = inference.infer(network, settings, array)
    energy = features.energy_dB(array[:, :20])
    np.testing.assert_allclose(by_b - own, energy[:, None].repeat(79, 1), atol=1e-3)


def test_y_through_a_network_of_y_keeps_its_energy_or_gets_that_of_another():
    settings = settings_of("autoencoder2", 2)
    network, y = at_work(settings), targets(records_of(30))
    own = 20 * untrained(settings)(torch.from_numpy(inputs.network_inputs(settings, y))).detach().double().numpy()
    for other in (None, y - np.float32(9)):
        energy = features.energy_dB(y if other is None else other)[:, None]
        np.testing.assert_allclose(inference.infer(network, settings, y, other) - own, energy.repeat(79, 1), atol=1e-3)


@pytest.mark.parametrize(("family", "nn"), [("autoencoder2", 1), ("autoencoder2", 2), ("autoencoder1", 2)])
def test_features_of_the_wrong_width_are_refused_by_name(family, nn):
    settings, wrong = settings_of(family, nn), targets(records_of(9)) if family == "autoencoder1" else records_of(9)
    network = at_work(settings)
    says = "79 a frame, expected 22 of b" if family == "autoencoder1" else "22 a frame, expected 79 of y"
    for use in (inference.encode, inference.infer):
        with pytest.raises(InputError, match=f"^features: {says} for {family} nn {nn}$"):
            use(network, settings, wrong)


def test_a_trained_network_gives_back_its_features_and_their_energy(tmp_path):
    array = records_of(600)
    training.train({**SETTINGS, "epochs": 25}, [array], None, tmp_path / "b")
    network, settings = inference.load(tmp_path / "b/weights.safetensors")
    b_hat = inference.infer(network, settings, array)
    assert np.mean((b_hat - array)[:, :20] ** 2) < 1.5  # dB^2; its spread is some 100
    training.train({**MANIFOLD, "epochs": 25}, [array], [targets(array)], tmp_path / "y")
    network, settings = inference.load(tmp_path / "y/weights.safetensors")
    y_hat = inference.infer(network, settings, array, targets(array))
    assert np.mean((y_hat - targets(array)) ** 2) < 8
    energy = features.energy_dB(y_hat) - features.energy_dB(targets(array))
    assert np.abs(energy).mean() < 0.5


def test_noise_on_the_latents_is_seeded_and_has_its_variance():
    network, array = at_work(SETTINGS), records_of(3000)
    seen = []
    network.decode = lambda latents: seen.append(latents) or np.zeros((len(latents), 20), np.float32)
    for noise_var, seed in ((0.0, 1), (0.01, 1), (0.01, 1), (0.01, 2)):
        inference.infer(network, SETTINGS, array, noise_var=noise_var, seed=seed)
    np.testing.assert_array_equal(seen[1], seen[2])
    assert (seen[1] != seen[3]).mean() > 0.99
    assert np.var(seen[1] - seen[0]) == pytest.approx(0.01, rel=0.05)
    assert np.corrcoef((seen[1] - seen[0])[:, 0], (seen[1] - seen[0])[:, 1])[0, 1] < 0.1


@pytest.mark.parametrize("ncat", [1, 3])
def test_latents_of_quiet_frames_can_be_left_out(ncat):
    settings = {**SETTINGS, "ncat": ncat}
    network, array = at_work(settings), records_of(31)
    array[[4, 30], :20] -= 100
    loud = loud_of(array, 10.0, ncat)
    assert np.flatnonzero(~loud).tolist() == {1: [4, 30], 3: [1, 10]}[ncat]
    assert loud.shape == (len(inference.encode(network, settings, array)),)
    assert loud_of(array, None, ncat).all() and loud_of(array, None, ncat).shape == loud.shape


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"latents": 9}, "9 vectors, expected 10"),
        ({"width": 3}, "expected"),
        ({"y": 9}, "expected"),
    ],
)
def test_numbers_of_frames_and_latents_that_do_not_fit_are_refused(given, says):
    settings = SETTINGS if "y" not in given else MANIFOLD
    network, array = at_work(settings), records_of(10)
    with pytest.raises(InputError, match=says):
        if "y" in given:
            inference.infer(network, settings, array, targets(array)[: given["y"]])
        else:
            latents = np.zeros((given.get("latents", 10), given.get("width", 4)), np.float32)
            inference.decode(network, settings, latents, array)


@pytest.mark.parametrize(("family", "nn"), NO_LATENTS)
def test_a_network_without_a_bottleneck_has_no_latents_in_or_out(family, nn):
    settings, array = settings_of(family, nn), records_of(10)
    network = at_work(settings)
    uses = [
        lambda: inference.encode(network, settings, array),
        lambda: inference.decode(network, settings, np.zeros((10, 1), np.float32), array),
        lambda: inference.infer(network, settings, array, noise_var=0.1),
    ]
    for use in uses:
        with pytest.raises(InputError, match=f"^{family} nn {nn}: has no bottleneck"):
            use()
    assert np.isfinite(inference.infer(network, settings, array)).all()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    training.train(SETTINGS, [records_of(100)], None, folder)
    return folder / "weights.safetensors"


def test_loaded_weights_are_those_that_were_trained(trained, made):
    network, settings = inference.load(trained)
    assert settings == SETTINGS
    tensors = safetensors.torch.load_file(trained)
    for part in ("encoder", "decoder"):
        for i, layer in enumerate(getattr(network, part)):
            for name, array in zip(("weight", "bias"), layer, strict=True):
                np.testing.assert_array_equal(array, tensors.pop(f"{part}.{2 * i}.{name}"))
    assert not tensors
    network = inference.load(made(*VQ) / "weights.safetensors")[0].network
    tensors = safetensors.torch.load_file(made(*VQ) / "weights.safetensors")
    assert not network.training and tensors.keys() == network.state_dict().keys()
    assert all(torch.equal(tensors[key], value) for key, value in network.state_dict().items())


DENSE = [
    *((*key, {}) for key in (*PLAIN, NORMALISED)),
    ("autoencoder1", 2, {"ncat": 4, "zero_mean": True}),
    ("autoencoder1", 2, {"ncat": 3, "zero_mean": True, "dct": True, "norm": False}),
    ("autoencoder1", 4, {"ncat": 3, "dct": True, "symbols": True}),
    ("autoencoder3", 1, {"symbols": True}),
    ("autoencoder4", 5, {"dct": True, "zero_mean": True, "symbols": True}),
    ("autoencoder4", 6, {"dct": True, "zero_mean": True, "symbols": True}),
]


def trained_state(settings):
    """A network as after a training, with batch statistics and a mean, and its tensors as arrays."""
    network = untrained(settings)
    for name, buffer in network.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
        elif name.endswith("mean"):
            buffer.normal_()
    return network, {name: array.numpy() for name, array in network.state_dict().items()}


@pytest.mark.parametrize(("family", "nn", "changes"), DENSE)
@torch.no_grad()
def test_dense_layers_are_the_network(family, nn, changes):
    settings = settings_of(family, nn, **changes)
    network, state = trained_state(settings)
    found = inference.at_work(settings, state)
    assert isinstance(found, dense.Dense) and found.row == ROWS[family, nn]
    x = 2 * torch.randn(300, widths(family, settings["ncat"])[0])
    latents = network.encode(x)
    np.testing.assert_allclose(found.encode(x.numpy()), latents, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.decode(latents.numpy()), network.decode(latents), rtol=0, atol=1e-5)
    assert found.encode(x.numpy()).dtype == found.decode(latents.numpy()).dtype == np.float32


@pytest.mark.parametrize(("family", "nn"), [PITCH, CONV, FSQ, VQ, RESIDUAL_VQ])
def test_what_dense_layers_cannot_do_is_left_to_torch_and_refused_without_it(made, family, nn):
    weights = made(family, nn) / "weights.safetensors"
    assert isinstance(inference.load(weights)[0], model.AtWork)
    reason = {PITCH: "pitch", CONV: "conv", FSQ: "fsq"}.get((family, nn), "vq")
    with pytest.raises(InputError, match=rf"^{family} {nn} is not made of dense layers alone \({reason}\)$"):
        dense.load(weights)
    assert {key for key in LAYERS if ROWS[key].beyond_dense} == {PITCH, CONV, FSQ, VQ, RESIDUAL_VQ}


@pytest.mark.parametrize(("family", "nn"), [("autoencoder2", 2), ("autoencoder3", 3), NORMALISED])
def test_a_frame_s_result_depends_neither_on_the_others_nor_on_the_cores(family, nn):
    network = at_work(settings_of(family, nn))
    x = np.random.default_rng(1).standard_normal((700, widths(family, 1)[0])).astype(np.float32)
    latents = network.encode(x)
    output = network.decode(latents)
    for frames in (1, 2, 7, 255, 256, 257, 600):
        np.testing.assert_array_equal(network.encode(x[-frames:]), latents[-frames:])
        np.testing.assert_array_equal(network.decode(latents[-frames:]), output[-frames:])
    with threadpool_limits(2, user_api="blas"):
        np.testing.assert_array_equal(network.decode(network.encode(x)), output)
        assert {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"} == {2}


@pytest.mark.parametrize(
    "damage", ["missing", "empty", "half", "text", "folder", "no settings", "other", "list", "more", "fewer", "no row"]
)
def test_what_is_no_weights_file_of_ours_is_refused(trained, tmp_path, damage):
    path = tmp_path / "w.safetensors"
    data = trained.read_bytes()
    if damage == "folder":
        path.mkdir()
    elif damage in ("empty", "half", "text"):
        path.write_bytes({"empty": b"", "half": data[: len(data) // 2], "text": b"text\n" * 50}[damage])
    elif damage != "missing":
        changed = {"other": {"d": 5}, "no row": {"row": None}, "more": {}, "fewer": {}}
        texts = {name: {"settings": json.dumps({**SETTINGS, **change})} for name, change in changed.items()}
        tensors = safetensors.torch.load_file(trained)
        if damage == "more":
            tensors["decoder.4.weight"] = torch.zeros(20, 20)
        elif damage == "fewer":
            del tensors["decoder.2.bias"]
        safetensors.torch.save_file(tensors, path, (texts | {"no settings": None}).get(damage, {"settings": "[1]"}))
    with pytest.raises(InputError) as error:
        inference.load(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


ROW = SETTINGS["row"]
OF_4_5, OF_1_3, OF_M_3 = (
    {"family": family, "nn": nn, "row": as_settings(ROWS[family, nn])}
    for family, nn in (("autoencoder4", 5), ("autoencoder1", 3), ("manifold", 3))
)
LIES = [
    ({"d": 10**9}, "settings.d: found 1000000000, expected a whole number, 1 to 1024"),
    ({"d": -4}, "settings.d: found -4"),
    ({"d": True}, "settings.d: found True"),
    ({"d": None}, "settings.d: found None, expected a width"),
    ({"d": "4"}, "settings.d: found '4'"),
    ({"ncat": 10**9}, "settings.ncat: found 1000000000"),
    ({"ncat": 2.0}, "settings.ncat: found 2.0"),
    ({"nvq": 10**6}, "settings.nvq: found 1000000"),
    ({"nn": 100}, "settings.nn: found 100, expected a whole number, 1 to 99"),
    ({"family": ["autoencoder1"]}, "settings.family: found ['autoencoder1'], expected text"),
    ({"row": []}, "settings.row: found [], expected an object"),
    ({"row": {**ROW, "width": 3}}, "settings.row: unknown key 'width', expected encoder, decoder, bottleneck, "),
    ({"row": {"encoder": ["b", H, "d"]}}, "settings.row: decoder: found None, expected a list of widths"),
    ({"row": {**ROW, "encoder": ["b", 10**9, "d"]}}, "settings.row: encoder: found ['b', 1000000000, 'd'], expected"),
    ({"row": {**ROW, "encoder": ["b", True, "d"]}}, "settings.row: encoder: found ['b', True, 'd'], expected"),
    ({"row": {**ROW, "encoder": ["b", *[8] * 99, "d"]}}, "settings.row: encoder: found ['b', 8, 8, "),
    ({"row": {**ROW, "encoder": ["b"]}}, "settings.row: encoder: found ['b'], expected a list that ends in \"d\""),
    ({"row": {**ROW, "encoder": [21, H, "d"]}}, "settings.row: encoder: found [21, 512, 'd'], expected a list that b"),
    ({"row": {**ROW, "encoder": ["b", "b", "d"]}}, "settings.row: decoder: found ['d', 512, 'b'], expected whole num"),
    ({"row": {**ROW, "decoder": [H, "b"]}}, "settings.row: decoder: found [512, 'b'], expected a list that begins"),
    ({"row": {**ROW, "decoder": ["d", H, 20]}}, "settings.row: decoder: found ['d', 512, 20], expected a list that"),
    ({"row": {**ROW, "decoder": ["d", H, 79]}}, "settings.row: decoder: found ['d', 512, 79], expected a list that"),
    ({"row": {**ROW, "bottleneck": "sine"}}, "settings.row: bottleneck: found 'sine', expected one of tanh, relu"),
    ({"row": {**ROW, "layers": ["conv"]}}, "settings.row: layers: found ['conv'], expected one of linear, "),
    ({"row": {**ROW, "layers": "pitch"}}, "settings.row: layers: found 'pitch', expected others than pitch"),
    ({"row": {**ROW, "decoder": ["d", H, H, "b"], "layers": "conv"}}, "settings.row: layers: found 'conv', expected"),
    ({"row": {**ROW, "noisy": 1}}, "settings.row: noisy: found 1, expected true or false"),
    ({"row": {"encoder": [], "decoder": [22, 79], "noisy": True}}, "settings.row: noisy: found True, expected false"),
    ({"row": {"encoder": [], "decoder": [20, 20], "quantised": "fsq"}}, "settings.row: quantised: found 'fsq'"),
    ({"row": {"encoder": [], "decoder": ["b", "b"], "quantised": "vq"}}, "settings.row: quantised: found 'vq'"),
    ({"norm": 1}, "settings.norm: found 1, expected true or false"),
    ({"lower_limit_dB": float("nan")}, "settings.lower_limit_dB: found nan"),
    ({"held_out": 2}, "settings.held_out: found 2, expected a number, 0 to 1"),
    ({"symbols": True}, "settings.symbols: found True"),
    (OF_4_5 | {"symbols": True, "d": 5}, "settings.d: found 5, expected an even number"),
    (OF_1_3 | {"ncat": 6}, "settings.ncat: found 6, expected a multiple of 4"),
    (OF_4_5 | {"ncat": 2}, "settings.ncat: found 2, expected 1"),
    (OF_M_3 | {"d": None, "dct": True}, "settings.dct: found True"),
]


@pytest.mark.parametrize(("changes", "says"), LIES)
def test_settings_in_weights_that_no_network_can_have_name_the_file_and_the_key(trained, tmp_path, changes, says):
    path, tensors = tmp_path / "w.safetensors", safetensors.torch.load_file(trained)
    safetensors.torch.save_file(tensors, path, {"settings": json.dumps({**SETTINGS, **changes})})
    with pytest.raises(InputError) as error:
        inference.load(path)
    assert str(error.value).startswith(f"{path}: not weights written by mlquant train ({says}")


@pytest.mark.parametrize("missing", ["d", "family", "norm", "noise_var"])
def test_a_setting_that_weights_lack_is_named(trained, tmp_path, missing):
    path, tensors = tmp_path / "w.safetensors", safetensors.torch.load_file(trained)
    settings = {name: value for name, value in SETTINGS.items() if name != missing}
    safetensors.torch.save_file(tensors, path, {"settings": json.dumps(settings)})
    with pytest.raises(InputError, match=f"'{missing}' is missing"):
        inference.load(path)


@pytest.mark.parametrize(
    ("value", "says"), [(np.nan, "holds NaN or infinity"), (1e38, "vector 0 holds NaN or infinity")]
)
def test_weights_that_make_what_is_not_finite_are_refused(trained, tmp_path, value, says):
    path, tensors = tmp_path / "w.safetensors", safetensors.torch.load_file(trained)
    tensors["decoder.0.weight"][:] = value
    tensors["decoder.2.weight"][:] = value
    safetensors.torch.save_file(tensors, path, {"settings": json.dumps(SETTINGS)})
    with pytest.raises(InputError, match=says):
        inference.infer(*inference.load(path), records_of(5))


def test_a_failed_training_says_why_wherever_its_weights_are_used(tmp_path):
    (tmp_path / training.CHECKPOINT).write_bytes(b"of the training that failed")
    training.write_failure(SETTINGS, "epoch 3: the loss is nan", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    report = {"failed": "epoch 3: the loss is nan", "seconds": None, "device": None}
    assert disk.read_json(tmp_path / "training.json") == report
    assert disk.read_json(tmp_path / "settings.json") == SETTINGS
    assert pd.read_csv(tmp_path / "losses.csv").empty
    path = tmp_path / "weights.safetensors"
    with pytest.raises(InputError) as error:
        inference.load(path)
    assert str(error.value) == f"{path}: the training of this network failed: epoch 3: the loss is nan"


# --- settings --------------------------------------------------------------------------------------------


def test_the_row_of_a_network_is_filled_in_from_the_table_and_one_that_is_given_stands():
    given = {name: value for name, value in SETTINGS.items() if name != "row"}
    assert validate(NetworkSettings, given, "settings").model_dump() == SETTINGS
    wider = {**SETTINGS["row"], "encoder": ["b", 64, "d"], "decoder": ["d", 64, "b"]}
    settings = validate(NetworkSettings, {**SETTINGS, "row": wider}, "settings").model_dump()
    assert settings == {**SETTINGS, "row": wider}
    assert [layer.out_features for layer in layers_of(untrained(settings))] == [64, 4, 64, 20]
    unknown = {**SETTINGS, "family": "mine", "nn": 1, "row": {"encoder": [], "decoder": [22, 30, 79]}, "d": None}
    settings = validate(NetworkSettings, unknown, "settings").model_dump()
    assert settings["row"] == as_settings(Row((), (22, 30, 79)))
    with pytest.raises(InputError, match=r"^settings: row: encoder: found \['b', 'wide', 'd'\], expected a list of"):
        validate(NetworkSettings, {**SETTINGS, "row": {**wider, "encoder": ["b", "wide", "d"]}}, "settings")


def test_weights_of_a_network_that_the_table_does_not_know_are_loaded_and_used(tmp_path):
    row = as_settings(Row(("b", 30, "d"), ("d", 30, "b")))
    settings = {**SETTINGS, "family": "later", "nn": 7, "row": row, "epochs": 1}
    training.train(settings, [records_of(300)], None, tmp_path)
    network, found = inference.load(tmp_path / "weights.safetensors")
    assert found == settings and isinstance(network, dense.Dense)
    assert inference.encode(network, found, records_of(9)).shape == (9, 4)


@every_shape
def test_settings_of_every_network_are_as_they_were_given(family, nn, ncat, nvq):
    given = settings_of(family, nn, ncat=ncat, nvq=nvq)
    if (family, nn) in B_TO_B:
        given |= {"norm": False, "zero_mean": True, "dct": True, "lower_limit_dB": 10.0}
    if (family, nn) in NOISE:
        given |= {"noise_var": 1e-3, "symbols": True}
    assert validate(NetworkSettings, given, "settings").model_dump() == given


NEITHER = "is not from b to b_hat"
CONTRADICTIONS = [
    ("autoencoder1", 9, {}, "nn: found 9, expected one of 1, 2, 3, 4, 5, 6, 7 for autoencoder1"),
    *(
        (*key, {"d": None}, f"d: is missing, expected the width of the bottleneck of {' '.join(map(str, key))}")
        for key in WITH_LATENTS
    ),
    *((*key, {"d": 4}, f"d: found 4, but {key[0]} {key[1]} has no bottleneck") for key in NO_LATENTS),
    *(
        (*key, changes, f"{line}{key[0]} {key[1]} has no bottleneck noise")
        for key in LAYERS
        if key not in NOISE
        for changes, line in (
            ({"noise_var": 0.001}, "noise_var: found 0.001, but "),
            ({"symbols": True}, "symbols: found True, but "),
        )
    ),
    ("autoencoder4", 5, {"symbols": True, "d": 5}, "d: found 5, expected an even number, for symbols of two latents"),
    *(
        (*key, {"ncat": 4}, f"ncat: found 4, but {key[0]} {key[1]} takes one frame")
        for key in LAYERS
        if key not in FRAMES
    ),
    *((*CONV, {"ncat": n}, f"ncat: found {n}, expected a multiple of 4 for autoencoder1 3") for n in (1, 6)),
    *(
        (*key, {"nvq": 2}, f"nvq: found 2, but {key[0]} {key[1]} has one quantiser at most")
        for key in LAYERS
        if key not in (FSQ, RESIDUAL_VQ)
    ),
    *((*key, {"norm": False}, f"norm: found False, but {key[0]} {key[1]} always normalises") for key in TO_Y),
    *(
        (*key, {name: value}, f"{name}: found {value}, but {key[0]} {key[1]} {NEITHER}")
        for key in TO_Y
        for name, value in (("zero_mean", True), ("dct", True), ("lower_limit_dB", 0.0))
    ),
    (*NORMALISED, {"batch": 1}, "batch: found 1, but autoencoder4 6 normalises over each batch"),
]


@pytest.mark.parametrize(("family", "nn", "changes", "says"), CONTRADICTIONS)
def test_settings_that_contradict_the_network_are_named(family, nn, changes, says):
    with pytest.raises(InputError) as error:
        validate(NetworkSettings, settings_of(family, nn, **changes), "settings")
    assert str(error.value).startswith(f"settings: {says}") and "\n" not in str(error.value)
