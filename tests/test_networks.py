"""The networks have the shapes of the original's, learn, go on after a kill to the same bytes, and restore levels."""

import hashlib
import io
import json
import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import safetensors
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mlquant import files, inference, losses, networks, training
from mlquant.architectures import ROWS
from mlquant.files import InputError, read_features, write_f32

SETTINGS = {
    "family": "autoencoder1",
    "nn": 2,
    "d": 4,
    "ncat": 1,
    "norm": True,
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
}
MANIFOLD = {**SETTINGS, "family": "manifold", "nn": 1, "d": None, "loss": "wloss"}
NOISY = {**SETTINGS, "nn": 4, "noise_var": 1e-3}

# Layers as in the specification's table, for d = 4: weights and biases of each.
LAYERS = {
    ("manifold", 1): lambda n: [(22, 512), (512, 512), (512, 79)],
    ("autoencoder1", 2): lambda n: [(20 * n, 512), (512, 4), (4, 512), (512, 20 * n)],
    ("autoencoder1", 4): lambda n: [(20 * n, 512), (512, 4), (4, 512), (512, 20 * n)],
}


def settings_of(family, nn, **changes):
    row = ROWS[family, nn]
    return {**SETTINGS, "family": family, "nn": nn, "d": 4 if row.encoder else None, **changes}


def records(frames, seed=0):
    """Feature records [F, 22] of a smooth spectrum that three numbers make, voiced but for every fifth frame."""
    rng = np.random.default_rng(seed)
    shapes = np.cos(np.outer([1, 2, 3], np.linspace(0, np.pi, 20)))
    b = 40 + 8 * rng.standard_normal((frames, 3)) @ shapes
    Wo = rng.uniform(0.04, 0.3, frames)
    return np.column_stack([b, Wo, np.arange(frames) % 5 > 0]).astype(np.float32)


def targets(array):
    """y [F, 79] that follows from b."""
    at = np.linspace(0, 19, 79)
    return np.stack([np.interp(at, np.arange(20), b) for b in array[:, :20]]).astype(np.float32)


def untrained(settings):
    torch.manual_seed(3)
    return networks.Network(settings).eval()


# --- shapes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "nn"), ROWS)
@pytest.mark.parametrize("ncat", [1, 3])
def test_a_network_is_its_row_of_the_table(family, nn, ncat):
    row = ROWS[family, nn]
    ncat = ncat if row.inputs == 20 else 1
    network = untrained(settings_of(family, nn, ncat=ncat))
    expected = LAYERS[family, nn](ncat)
    linear = [m for m in network.modules() if isinstance(m, torch.nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == expected
    assert sum(p.numel() for p in network.parameters()) == sum(i * o + o for i, o in expected)
    x = torch.randn(7, row.inputs * ncat)
    assert network(x).shape == (7, {"b": 20 * ncat, "y": 79}[row.target])
    if row.encoder:
        latents = network.encode(100 * x)
        assert latents.shape == (7, 4) and latents.abs().max() <= 1
    assert network(-1000 * x).min() < 0 < network(1000 * x).max()  # no activation after the last layer


@pytest.mark.parametrize(("family", "nn"), ROWS)
def test_hidden_layers_are_ReLU_and_the_bottleneck_is_tanh(family, nn):
    network, x = untrained(settings_of(family, nn)), torch.randn(5, ROWS[family, nn].inputs)
    value = x.double().numpy()
    linear = [m for m in network.modules() if isinstance(m, torch.nn.Linear)]
    for i, layer in enumerate(linear):
        value = value @ layer.weight.detach().double().numpy().T + layer.bias.detach().double().numpy()
        if ROWS[family, nn].encoder and layer.out_features == 4:
            value = np.tanh(value)
        elif i < len(linear) - 1:
            value = np.maximum(value, 0)
    np.testing.assert_allclose(network(x).detach().numpy(), value, atol=1e-5)


def test_noise_is_added_to_the_latents_of_noisy_networks_in_training_only():
    network, x = untrained({**NOISY, "noise_var": 0.01}), torch.randn(4000, 20)
    seen = []
    network.decode = lambda latents: seen.append(latents) or latents
    network(x), network(x, torch.Generator().manual_seed(1)), network(x, torch.Generator().manual_seed(1))
    assert torch.equal(seen[1], seen[2])
    noise = (seen[1] - seen[0]).detach().numpy()
    assert noise.var() == pytest.approx(0.01, rel=0.05) and abs(noise.mean()) < 0.005
    assert abs(np.corrcoef(noise[1:, 0], noise[:-1, 0])[0, 1]) < 0.06  # drawn for each vector
    quiet = untrained(SETTINGS)
    assert torch.equal(quiet(x), quiet(x, torch.Generator().manual_seed(1)))


# --- what a network sees ---------------------------------------------------------------------------------


@given(b=arrays(np.float64, (3, 20), elements=st.floats(-200, 200)))
def test_energy_is_the_sum_of_linear_energies(b):
    np.testing.assert_allclose(networks.energy_dB(b), 10 * np.log10(np.sum(10 ** (b / 10), axis=1)), atol=1e-9)


def test_energy_holds_where_float64_would_not():
    np.testing.assert_allclose(networks.energy_dB(np.full((2, 20), [[1e6], [-1e6]])), [1e6 + 13.0103, -1e6 + 13.0103])


def test_inputs_are_log10_amplitudes_of_unit_energy_with_log10_Wo_and_voicing():
    array = records(9)
    x = networks.network_inputs(MANIFOLD, array)
    assert x.shape == (9, 22) and x.dtype == np.float32
    np.testing.assert_allclose(np.sum(10 ** (2 * x[:, :20].astype(float)), axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.diff(x[:, :20]), np.diff(array[:, :20]) / 20, atol=1e-5)
    np.testing.assert_allclose(x[:, 20:], np.column_stack([np.log10(array[:, 20]), array[:, 21]]), rtol=1e-6)
    plain = networks.network_inputs({**SETTINGS, "norm": False}, array)
    np.testing.assert_allclose(plain, array[:, :20] / 20, rtol=1e-6)


# --- losses ----------------------------------------------------------------------------------------------

vectors = arrays(np.float64, (3, 4), elements=st.floats(-3, 3))


@given(estimate=vectors, target=vectors, gamma=st.floats(0, 1))
@settings(deadline=None)
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
    one, two = records(10, seed=1), records(10, seed=2)
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
    array = records(50)
    y = targets(array)
    x, t, x_held, t_held = training.training_set({**MANIFOLD, "voiced_only": True}, [array], [y])
    assert x.shape == (36, 22) and t.shape == (36, 79) and len(x_held) == len(t_held) == 4
    assert (x[:, 21] == 1).all()
    np.testing.assert_allclose(np.sum(10 ** (2 * t.double().numpy()), axis=1), 1, rtol=1e-5)
    voiced = y[:45][array[:45, 21] > 0]
    np.testing.assert_allclose(20 * np.diff(t), np.diff(voiced), atol=1e-4)


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
        training.train({**SETTINGS, **changes}, [records(60)], None, tmp_path / "net")
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize(
    ("settings", "features", "y"),
    [
        (MANIFOLD, [50], None),
        (MANIFOLD, [50], [40]),
        (MANIFOLD, [40], [50]),
        (MANIFOLD, [50, 50], [50]),
        (SETTINGS, [50], [50]),
    ],
)
def test_targets_that_do_not_fit_the_features_or_the_network_are_refused(settings, features, y, tmp_path):
    made = y and [targets(records(frames)) for frames in y]
    with pytest.raises(InputError, match="expected"):
        training.train(settings, [records(frames) for frames in features], made, tmp_path / "net")


def test_a_pitch_of_zero_is_refused_where_features_are_read(tmp_path):
    array = records(50)
    array[7, 20] = 0
    write_f32(tmp_path / "b.f32", array)
    with pytest.raises(InputError, match="record 7 has Wo 0, expected"):
        read_features(tmp_path / "b.f32")


# --- training --------------------------------------------------------------------------------------------


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
def test_the_loss_falls_and_three_files_tell_all(changed, tmp_path):
    array = records(600)
    y = [targets(array)] if changed["family"] == "manifold" else None
    training.train(changed, [array], y, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["losses.csv", "settings.json", "weights.safetensors"]
    curve = pd.read_csv(tmp_path / "losses.csv")
    assert list(curve) == ["epoch", "lr", "loss", "sd_dB2", "held_out_loss", "held_out_sd_dB2"]
    np.testing.assert_array_equal(curve["epoch"], np.arange(1, changed["epochs"] + 1))
    for column in ("loss", "sd_dB2", "held_out_loss", "held_out_sd_dB2"):
        assert curve[column].iloc[-1] < 0.6 * curve[column].iloc[0]
    if changed["loss"] == "sd":
        np.testing.assert_allclose(curve["sd_dB2"], 400 * curve["loss"], rtol=1e-5)
    assert files.read_json(tmp_path / "settings.json") == changed
    with safetensors.safe_open(tmp_path / "weights.safetensors", "pt") as file:
        assert json.loads(file.metadata()["settings"]) == changed


def test_what_is_held_out_trains_nothing(tmp_path):
    one = records(200)
    other = one.copy()
    other[180:] = records(20, seed=9)
    for name, array in (("one", one), ("other", other)):
        training.train(SETTINGS, [array], None, tmp_path / name)
    tensors = [inference.load(tmp_path / name / "weights.safetensors")[0].state_dict() for name in ("one", "other")]
    assert all(torch.equal(tensors[0][key], tensors[1][key]) for key in tensors[0])
    curves = [pd.read_csv(tmp_path / name / "losses.csv") for name in ("one", "other")]
    assert (curves[0]["loss"] == curves[1]["loss"]).all()
    assert (curves[0]["held_out_loss"] != curves[1]["held_out_loss"]).all()


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
            {**SETTINGS, "optimiser": "sgd", "lr": 1e6, "epochs": 50}, [records(300)], None, tmp_path / "net"
        )
    message = str(error.value)
    assert re.match(r"epoch \d+: the loss is (nan|inf)", message) and "\n" not in message
    assert message.endswith("lower the setting lr (now 1e+06)")
    assert not list(tmp_path.glob("net/*"))


def test_another_seed_gives_another_network(tmp_path):
    for seed in (1, 2):
        training.train({**SETTINGS, "seed": seed}, [records(100)], None, tmp_path / str(seed))
    assert weights(tmp_path / "1") != weights(tmp_path / "2")


# --- the same bytes, whatever happens --------------------------------------------------------------------


class Stop(BaseException):
    """As a kill, but of the function only."""


LONG = {**NOISY, "epochs": 8}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The weights of an undisturbed run, and the checkpoint of one that was stopped in epoch 7."""
    folder = tmp_path_factory.mktemp("stopped")
    training.train(LONG, [records(200)], None, folder / "whole")

    shuffle, epochs = torch.randperm, []

    def stop(*args, **options):
        epochs.append(len(epochs) + 1)
        if epochs[-1] == 7:
            raise Stop
        return shuffle(*args, **options)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(torch, "randperm", stop)
        training.train(LONG, [records(200)], None, folder / "part")
    assert [path.name for path in (folder / "part").iterdir()] == [training.CHECKPOINT]
    return weights(folder / "whole"), (folder / "part" / training.CHECKPOINT).read_bytes()


def go_on(folder, checkpoint, settings=LONG, array=None):
    """Train in a folder that holds this checkpoint."""
    folder.mkdir(exist_ok=True)
    (folder / training.CHECKPOINT).write_bytes(checkpoint)
    training.train(settings, [records(200) if array is None else array], None, folder)
    assert not (folder / training.CHECKPOINT).exists()
    return weights(folder)


def test_a_checkpoint_is_continued_and_it_says_so(stopped, tmp_path, capsys):
    assert go_on(tmp_path, stopped[1]) == stopped[0]
    err = capsys.readouterr().err
    assert "8 epochs after 5" in err and "epoch 6/8" in err and "epoch 5/8" not in err
    assert len(pd.read_csv(tmp_path / "losses.csv")) == 8


@pytest.mark.parametrize("change", [{"lr": 2e-3}, {"epochs": 9}, {"seed": 2}, {"noise_var": 2e-3}, "data"])
def test_a_checkpoint_of_another_run_is_ignored(stopped, tmp_path, capsys, change):
    array = records(200, seed=5) if change == "data" else records(200)
    changed = LONG if change == "data" else {**LONG, **change}
    training.train(changed, [array], None, tmp_path / "fresh")
    capsys.readouterr()
    assert go_on(tmp_path / "found", stopped[1], changed, array) == weights(tmp_path / "fresh")
    assert "epoch 1/" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["empty", "text", "half", "pickle", "no optimiser", "no curve", "one bit"])
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
    else:
        state = torch.load(io.BytesIO(checkpoint[32:]), weights_only=True)  # behind its checksum
        del state[damage.split()[1]]
        file = io.BytesIO()
        torch.save(state, file)
        found = [hashlib.sha256(file.getvalue()).digest() + file.getvalue()]
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


def test_processes_give_the_same_bytes_with_any_threads_and_after_a_kill(tmp_path):
    files.write_f32(tmp_path / "b.f32", records(400))
    files.write_json(tmp_path / "s.json", {**NOISY, "epochs": 24})
    settings, array = files.read_json(tmp_path / "s.json"), files.read_f32(tmp_path / "b.f32", 22)
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

autoencoders = pytest.mark.parametrize(("family", "nn"), [key for key, row in ROWS.items() if row.encoder])
mappers = pytest.mark.parametrize(("family", "nn"), [key for key, row in ROWS.items() if row.target == "y"])


@autoencoders
@pytest.mark.parametrize("ncat", [1, 4])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("frames", [1, 8, 11])
def test_straight_through_is_encode_and_decode(family, nn, ncat, norm, frames):
    settings = settings_of(family, nn, ncat=ncat, norm=norm)
    network, array = untrained(settings), records(frames)
    latents = inference.encode(network, settings, array)
    assert latents.shape == (-(-frames // ncat), 4) and latents.dtype == np.float32
    decoded = inference.decode(network, settings, latents, array)
    through = inference.infer(network, settings, array)
    assert decoded.tobytes() == through.tobytes()
    assert through.shape == array.shape and through.dtype == np.float32
    np.testing.assert_array_equal(through[:, 20:], array[:, 20:])  # Wo and voicing are passed on
    assert np.isfinite(through).all() and array.flags.writeable and array.tobytes() == records(frames).tobytes()


def test_a_last_short_sequence_repeats_its_last_frame():
    settings = {**SETTINGS, "ncat": 4}
    network, array = untrained(settings), records(10)
    padded = np.concatenate([array, array[-1:], array[-1:]])
    np.testing.assert_array_equal(
        inference.encode(network, settings, array), inference.encode(network, settings, padded)
    )
    np.testing.assert_array_equal(
        inference.infer(network, settings, array), inference.infer(network, settings, padded)[:10]
    )


@autoencoders
def test_a_gain_passes_through_a_normalising_autoencoder(family, nn):
    settings = settings_of(family, nn)
    network, array = untrained(settings), records(30)
    louder = array.copy()
    louder[:, :20] += 17
    one, other = inference.infer(network, settings, array), inference.infer(network, settings, louder)
    np.testing.assert_allclose(other[:, :20] - one[:, :20], 17, atol=1e-3)
    latents = [inference.encode(network, settings, a) for a in (array, louder)]
    np.testing.assert_allclose(*latents, atol=1e-5)


@mappers
def test_y_hat_gets_the_energy_of_y_or_else_of_b_and_is_made_as_if_voiced(family, nn):
    settings = settings_of(family, nn)
    network, array = untrained(settings), records(30)
    y = targets(array) + np.float32(5)
    y_hat = inference.infer(network, settings, array, y)
    assert y_hat.shape == (30, 79) and y_hat.dtype == np.float32
    forced = array.copy()
    forced[:, 21] = 1
    assert inference.infer(network, settings, forced, y).tobytes() == y_hat.tobytes()
    # What the network itself gives, log10 of amplitudes of about unit energy, plus an energy in dB.
    own = 20 * network(torch.from_numpy(networks.network_inputs(settings, forced))).detach().double().numpy()
    np.testing.assert_allclose(y_hat - own, networks.energy_dB(y.astype(float))[:, None].repeat(79, 1), atol=1e-3)
    by_b = inference.infer(network, settings, array)
    energy = networks.energy_dB(array[:, :20].astype(float))
    np.testing.assert_allclose(by_b - own, energy[:, None].repeat(79, 1), atol=1e-3)


def test_a_trained_network_gives_back_its_features_and_their_energy(tmp_path):
    array = records(600)
    training.train({**SETTINGS, "epochs": 25}, [array], None, tmp_path / "b")
    network, settings = inference.load(tmp_path / "b/weights.safetensors")
    b_hat = inference.infer(network, settings, array)
    assert np.mean((b_hat - array)[:, :20] ** 2) < 1.5  # dB^2; its spread is some 100
    training.train({**MANIFOLD, "epochs": 25}, [array], [targets(array)], tmp_path / "y")
    network, settings = inference.load(tmp_path / "y/weights.safetensors")
    y_hat = inference.infer(network, settings, array, targets(array))
    assert np.mean((y_hat - targets(array)) ** 2) < 8
    energy = networks.energy_dB(y_hat.astype(float)) - networks.energy_dB(targets(array).astype(float))
    assert np.abs(energy).mean() < 0.5


def test_noise_on_the_latents_is_seeded_and_has_its_variance():
    network, array = untrained(SETTINGS), records(3000)
    seen = []
    network.decode = lambda latents: seen.append(latents.numpy()) or torch.zeros(len(latents), 20)
    for noise_var, seed in ((0.0, 1), (0.01, 1), (0.01, 1), (0.01, 2)):
        inference.infer(network, SETTINGS, array, noise_var=noise_var, seed=seed)
    np.testing.assert_array_equal(seen[1], seen[2])
    assert (seen[1] != seen[3]).mean() > 0.99
    assert np.var(seen[1] - seen[0]) == pytest.approx(0.01, rel=0.05)
    assert np.corrcoef((seen[1] - seen[0])[:, 0], (seen[1] - seen[0])[:, 1])[0, 1] < 0.1


@pytest.mark.parametrize("ncat", [1, 3])
def test_latents_of_quiet_frames_can_be_left_out(ncat):
    settings = {**SETTINGS, "ncat": ncat}
    network, array = untrained(settings), records(31)
    array[[4, 30], :20] -= 100
    whole, loud = (inference.encode(network, settings, array, thresh) for thresh in (None, 10.0))
    left_out = {1: [4, 30], 3: [1, 10]}[ncat]
    np.testing.assert_array_equal(loud, np.delete(whole, left_out, axis=0))


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
    network, array = untrained(settings), records(10)
    with pytest.raises(InputError, match=says):
        if "y" in given:
            inference.infer(network, settings, array, targets(array)[: given["y"]])
        else:
            latents = np.zeros((given.get("latents", 10), given.get("width", 4)), np.float32)
            inference.decode(network, settings, latents, array)


def test_a_network_without_a_bottleneck_has_no_latents_in_or_out():
    network, array = untrained(MANIFOLD), records(10)
    with pytest.raises(InputError, match="no bottleneck"):
        inference.encode(network, MANIFOLD, array)
    with pytest.raises(InputError, match="no bottleneck"):
        inference.decode(network, MANIFOLD, np.zeros((10, 1), np.float32), array)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    training.train(SETTINGS, [records(100)], None, folder)
    return folder / "weights.safetensors"


def test_loaded_weights_are_those_that_were_trained(trained):
    network, settings = inference.load(trained)
    assert settings == SETTINGS and not network.training
    with safetensors.safe_open(trained, "pt") as file:
        assert set(file.keys()) == set(network.state_dict())
        assert all(torch.equal(file.get_tensor(key), value) for key, value in network.state_dict().items())


@pytest.mark.parametrize("damage", ["missing", "empty", "half", "text", "folder", "no settings", "other", "list"])
def test_what_is_no_weights_file_of_ours_is_refused(trained, tmp_path, damage):
    path = tmp_path / "w.safetensors"
    data = trained.read_bytes()
    if damage == "folder":
        path.mkdir()
    elif damage in ("empty", "half", "text"):
        path.write_bytes({"empty": b"", "half": data[: len(data) // 2], "text": b"text\n" * 50}[damage])
    elif damage != "missing":
        changed = {"no settings": None, "other": {"settings": json.dumps({**SETTINGS, "d": 5})}}
        tensors = inference.load(trained)[0].state_dict()
        safetensors.torch.save_file(tensors, path, metadata=changed.get(damage, {"settings": "[1]"}))
    with pytest.raises(InputError) as error:
        inference.load(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)
