"""Training goes on from weights, on quantised latents of the decoder alone, and with the search in the loop."""

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.commands import run, succeeds
from support.networks import Stop, records_of, targets

from mlquant.core import disk, records
from mlquant.core.blocks import validate
from mlquant.core.errors import InputError
from mlquant.networks import dense, inference, model, training
from mlquant.networks.settings import NetworkSettings
from mlquant.quantisers import vq

STILL = 1e-30
"""A learning rate that moves no weight."""


def settings_of(**changes):
    small = {"family": "autoencoder1", "nn": 4, "d": 4, "loss": "sd", "lr": 1e-3, "batch": 64, "epochs": 2}
    return validate(NetworkSettings, {**small, "held_out": 0.2, **changes}, "settings").model_dump()


def trained(folder, *arguments, y=None, **changes):
    """Train on 300 records; returns the weights file."""
    changed, *others = arguments
    training.train(changed, [records_of(300)], y, folder, *others, refined=vq.refined, **changes)
    return folder / "weights.safetensors"


def tensors(path):
    return safetensors.torch.load_file(path)


def held_out_sd(path):
    return pd.read_csv(path.parent / "losses.csv")["held_out_sd_dB2"].iloc[-1]


def codebooks_of(vectors, *sizes):
    books = []
    for size in sizes:
        result = vq.train(vectors, size, seed=1)
        books, vectors = [*books, result.codebook], result.residual
    return books


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A trained network to go on from, its latents and codebooks for them."""
    path = trained(tmp_path_factory.mktemp("first") / "net", settings_of(epochs=12))
    latents = inference.encode(*inference.load(path), records_of(300))
    return path, latents, codebooks_of(latents, 16, 16)


@pytest.fixture(scope="module")
def initial(first):
    return dense.load(first[0], training.state_of)


# --- from the weights of another -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "y"),
    [
        ({"zero_mean": True, "dct": True}, False),
        ({"family": "manifold", "nn": 4, "d": None}, True),
        ({"family": "autoencoder4", "nn": 6}, False),
        ({"nn": 6}, False),
    ],
)
def test_training_goes_on_from_the_weights_it_is_given(tmp_path, changes, y):
    y = [targets(records_of(300))] if y else None
    path = trained(tmp_path / "first", settings_of(**changes), y=y)
    again = settings_of(**changes, lr=STILL, epochs=1, seed=5, noise_var=0)
    after = tensors(trained(tmp_path / "again", again, y=y, initial=dense.load(path, training.state_of)))
    learnt = {name for name, _ in model.Network(again).named_parameters()} | {"mean"}
    for name, before in tensors(path).items():
        assert torch.equal(before, after[name]) or name not in learnt, name


def test_what_other_weights_have_learnt_is_not_learnt_anew(tmp_path, first, initial):
    anew = trained(tmp_path / "anew", settings_of(epochs=1))
    on = trained(tmp_path / "on", settings_of(epochs=1), initial=initial)
    assert held_out_sd(on) < 1.2 * held_out_sd(first[0]) < 0.5 * held_out_sd(anew)


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("family", {"family": "autoencoder4", "nn": 5}),
        ("nn", {"nn": 2}),
        ("d", {"d": 6}),
        ("ncat", {"ncat": 2}),
        ("norm", {"norm": False}),
        ("zero_mean", {"zero_mean": True}),
        ("dct", {"dct": True}),
        ("lower_limit_dB", {"lower_limit_dB": 3.0}),
        ("symbols", {"symbols": True}),
    ],
)
def test_weights_of_another_network_are_refused_by_the_setting(tmp_path, initial, key, changes):
    with pytest.raises(
        InputError, match=f"^{key}: found {next(iter(changes.values()))}, expected {initial[1][key]} as"
    ):
        trained(tmp_path / "net", settings_of(**changes), initial=initial)
    assert not (tmp_path / "net").exists()


def test_settings_of_a_training_are_no_matter_at_work(first):
    known = dense.load(first[0])[1]
    assert known["mbest"] == 5 and known["refresh"] == 5


# --- on quantised latents --------------------------------------------------------------------------------


@given(
    frames=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    ncat=st.integers(1, 4),
    held_out=st.floats(0.2, 0.6),
    others=st.booleans(),
)
@settings(max_examples=15)
def test_latents_go_with_the_sequences_that_they_were_made_of(frames, ncat, held_out, others):
    changed = settings_of(ncat=ncat, held_out=held_out, thresh=50.0, voiced_only=ncat == 1)
    torch.manual_seed(3)
    state = {name: tensor.numpy() for name, tensor in model.Network(changed).state_dict().items()}
    network = inference.at_work(changed, state)
    arrays = [records_of(10 * count, seed) for seed, count in enumerate(frames)]
    voices = ([records_of(50, 9)], None) if others else None
    latents = [inference.encode(network, changed, array) for array in arrays]
    more = [inference.encode(network, changed, array) for array in voices[0]] if others else []
    try:
        made = training.training_set(changed, arrays, None, voices, (latents, more))
    except InputError as error:
        assert "0 vectors are left" in str(error)
        return
    plain = training.training_set(changed, arrays, None, voices)
    for (x, t), whole in zip((made[:2], made[2:]), (plain[0], plain[2]), strict=True):
        np.testing.assert_allclose(network.encode(t.numpy()), x, atol=1e-5)
        rows = {row.tobytes() for row in whole.numpy()}
        assert len(t) <= len(whole) and all(row.tobytes() in rows for row in t.numpy())
        assert ncat > 1 or torch.equal(t, whole)


def test_every_sequence_that_is_kept_is_there_but_one_across_the_split():
    changed = settings_of(ncat=3, held_out=0.5)
    latents = np.arange(4 * 6, dtype=np.float32).reshape(6, 4)  # of 16 frames: 8 to train on, a short sequence
    x, _, x_held, _ = training.training_set(changed, [records_of(16)], None, None, ([latents], []))
    assert x[:, 0].tolist() == [0, 4] and x_held[:, 0].tolist() == [12, 16]


def test_the_decoder_alone_learns_what_quantised_latents_stand_for(tmp_path, first, initial):
    path, latents, _ = first
    given = {"initial": initial, "latents": ([latents / 2 + np.float32(0.3)], [])}
    still = trained(tmp_path / "still", settings_of(lr=STILL, epochs=1), **given)
    on = trained(tmp_path / "on", settings_of(epochs=20, noise_var=1.0), **given)
    assert held_out_sd(on) < 0.5 * held_out_sd(still)
    before, after = tensors(path), tensors(on)
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]) == name.startswith("encoder"), name
    np.testing.assert_array_equal(inference.encode(*inference.load(on), records_of(300)), latents)


@pytest.mark.parametrize(
    ("changes", "shape", "says"),
    [
        ({}, (299, 4), "expected \\[\\(300, 4\\)\\]"),
        ({}, (300, 5), "expected \\[\\(300, 4\\)\\]"),
        ({"family": "manifold", "nn": 1, "d": None}, (300, 4), "latents: manifold nn 1 has no bottleneck"),
    ],
)
def test_latents_that_do_not_fit_are_refused(changes, shape, says):
    y = [targets(records_of(300))] if "family" in changes else None
    with pytest.raises(InputError, match=says):
        training.training_set(settings_of(**changes), [records_of(300)], y, None, ([np.zeros(shape, "f4")], []))


# --- with the search in the loop -------------------------------------------------------------------------


@given(st.integers(0, 99), st.lists(st.integers(1, 40), min_size=1, max_size=3), st.integers(1, 6))
@settings(max_examples=15)
def test_the_search_of_a_batch_is_that_of_the_quantiser(seed, sizes, mbest):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((300, 5), np.float32)
    books = [rng.standard_normal((size, 5), np.float32) / 3**stage for stage, size in enumerate(sizes)]
    expected = vq.decode(vq.search(vectors, books, mbest), books)
    found = training.searched(torch.from_numpy(vectors), [torch.from_numpy(book) for book in books], mbest)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_gradient_passes_straight_through_and_the_commitment_is_a_quarter_of_the_error():
    torch.manual_seed(3)
    network, x = model.Network(settings_of()), torch.randn(9, 20)
    latents = network.encode(x)
    moved = torch.randn(9, 4)
    output = network(x, quantise=lambda found: moved)
    assert torch.allclose(output, network.decode(moved), atol=1e-6)
    wanted = torch.autograd.grad(network.decode(latents + (moved - latents).detach()).square().sum(), latents)[0]
    (found,) = torch.autograd.grad(output.square().sum(), network.encoder[0].weight, retain_graph=True)
    (through,) = torch.autograd.grad(latents, network.encoder[0].weight, wanted, retain_graph=True)
    assert found.abs().max() > 0 and torch.allclose(found, through, rtol=1e-4, atol=1e-7)
    (drawn,) = torch.autograd.grad(network.commitment, network.encoder[0].weight)
    (error,) = torch.autograd.grad((latents - moved).square().mean() / 4, network.encoder[0].weight)
    assert torch.allclose(drawn, error, rtol=1e-4, atol=1e-7)


def test_codebooks_are_refined_before_the_first_epoch_and_measured_as_they_are(tmp_path, first, initial):
    _, _, books = first
    moved = [book + np.float32(0.05) for book in books]
    kept = [book.copy() for book in moved]
    changed = settings_of(lr=1e-3, epochs=1, mbest=3)
    path = trained(tmp_path / "net", changed, initial=initial, codebooks=moved)
    assert all(map(np.array_equal, moved, kept))
    x, _, x_held, t_held = training.training_set(changed, [records_of(300)], None)
    latents = dense.load(first[0])[0].encode(x.numpy())
    refined = vq.refined(latents, books, iterations=3)
    shifted = vq.refined(latents, moved, iterations=3)
    assert not np.array_equal(refined[0], shifted[0])
    network = dense.load(path)[0]
    found = network.encode(x_held.numpy())
    output = network.decode(vq.decode(vq.search(found, shifted, 3), shifted))
    assert held_out_sd(path) == pytest.approx(training.sd_dB2(changed, torch.from_numpy(output), t_held).item(), 1e-4)
    assert not any(torch.equal(tensor, tensors(path)[name]) for name, tensor in tensors(first[0]).items())


def test_a_network_learns_to_be_quantised(tmp_path, first, initial):
    _, _, books = first
    still = trained(tmp_path / "still", settings_of(lr=STILL, epochs=1), initial=initial, codebooks=books[:1])
    on = trained(tmp_path / "on", settings_of(epochs=30, refresh=2), initial=initial, codebooks=books[:1])
    assert held_out_sd(on) < 0.95 * held_out_sd(still)


def test_refined_codebooks_are_the_means_of_their_vectors_stage_by_stage():
    corners = np.float32([[0, 0], [10, 0], [0, 10]])
    steps = np.float32([[-1, 0], [1, 0]])
    vectors = (corners[:, None] + steps).reshape(-1, 2)
    start = [np.concatenate([corners + 0.4, [[99, 99]]]), steps * 0.6]
    first, second = vq.refined(vectors, start, iterations=2)
    np.testing.assert_allclose(first, [*corners, [99, 99]], atol=1e-6)
    np.testing.assert_allclose(second, steps, atol=1e-6)
    assert first.dtype == second.dtype == np.float32


@given(st.integers(0, 99), st.integers(1, 5))
@settings(max_examples=15)
def test_refined_codebooks_are_never_worse(seed, iterations):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((200, 3), np.float32)
    book = rng.standard_normal((16, 3), np.float32)
    errors = [vq.nearest(vectors, now)[1].mean() for now in (book, *vq.refined(vectors, [book], iterations=iterations))]
    assert errors[1] <= errors[0]


@pytest.mark.parametrize("damage", ["width", "iterations", "nan"])
def test_what_cannot_be_refined_is_refused(damage):
    vectors, iterations = np.zeros((9, 3), np.float32), 0 if damage == "iterations" else 1
    if damage == "nan":
        vectors[4, 1] = np.nan
    with pytest.raises(InputError):
        vq.refined(vectors, [np.zeros((2, 4 if damage == "width" else 3))], iterations=iterations)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"nn": 5}, "codebooks: autoencoder1 nn 5 quantises"),
        ({"nn": 6}, "codebooks: autoencoder1 nn 6 quantises"),
        ({"nn": 7, "d": None}, "codebooks: autoencoder1 nn 7 has no bottleneck"),
        ({"symbols": True}, "codebooks: autoencoder1 nn 4 makes symbols"),
        ({"d": 6}, "codebook: 4 elements an entry, expected 6"),
    ],
)
def test_a_network_without_a_plain_bottleneck_has_no_search_in_the_loop(tmp_path, first, changes, says):
    changed = settings_of(**changes)
    with pytest.raises(InputError, match=f"^{says}"):
        trained(tmp_path / "net", changed, initial=(model.Network(changed).state_dict(), changed), codebooks=first[2])


def test_a_rate_that_is_too_high_in_the_loop_is_told(tmp_path, first, initial):
    with pytest.raises(InputError, match="lower the setting lr"):
        trained(tmp_path, settings_of(optimiser="sgd", lr=1e30), initial=initial, codebooks=first[2])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("mode", ["latents", "codebooks"])
def test_a_cuda_device_trains_on_as_the_cpu_does(tmp_path, first, initial, mode):
    given = {"initial": initial, mode: ([first[1]], []) if mode == "latents" else first[2]}
    cpu, cuda = (trained(tmp_path / name, settings_of(epochs=6, device=name), **given) for name in ("cpu", "cuda"))
    assert held_out_sd(cuda) == pytest.approx(held_out_sd(cpu), rel=0.02)


# --- the same bytes --------------------------------------------------------------------------------------

LONG = {"epochs": 8, "refresh": 3}


def stopped_in_epoch_7(folder, **given):
    shuffle, epochs = torch.randperm, []

    def stop(*args, **options):
        epochs.append(len(epochs) + 1)
        if epochs[-1] == 7:
            raise Stop
        return shuffle(*args, **options)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(torch, "randperm", stop)
        trained(folder, settings_of(**LONG), **given)
    return folder / training.CHECKPOINT


@pytest.mark.parametrize("mode", ["latents", "codebooks"])
def test_what_was_stopped_goes_on_to_the_same_bytes(tmp_path, first, initial, mode, capsys):
    given = {"initial": initial, mode: ([first[1]], []) if mode == "latents" else first[2]}
    whole = trained(tmp_path / "whole", settings_of(**LONG), **given)
    stopped_in_epoch_7(tmp_path / "part", **given)
    capsys.readouterr()
    torch.manual_seed(99)
    part = trained(tmp_path / "part", settings_of(**LONG), **given)
    assert "8 epochs after 5" in capsys.readouterr().err
    for name in ("weights.safetensors", "losses.csv"):
        assert (whole.parent / name).read_bytes() == (part.parent / name).read_bytes()


@pytest.mark.parametrize("other", ["initial", "latents", "codebooks"])
def test_a_checkpoint_from_other_weights_latents_or_codebooks_is_ignored(tmp_path, first, initial, other, capsys):
    _, latents, books = first
    given = (
        {"initial": initial, "latents": ([latents], [])}
        if other == "latents"
        else {"initial": initial, "codebooks": books}
    )
    stopped_in_epoch_7(tmp_path, **given)
    if other == "initial":
        given["initial"] = ({name: tensor * 1.01 for name, tensor in initial[0].items()}, initial[1])
    else:
        given[other] = ([latents * np.float32(0.99)], []) if other == "latents" else [books[0], books[1][::-1].copy()]
    capsys.readouterr()
    trained(tmp_path, settings_of(**LONG), **given)
    err = capsys.readouterr().err
    assert "other settings or data, starting anew" in err and "epoch 1/8" in err


# --- the command -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A network of two frames by the command, its quantised latents of two files, and codebooks."""
    folder = tmp_path_factory.mktemp("command")
    for name, frames in (("b", 301), ("c", 90), ("held", 61)):
        records.write_f32(folder / f"{name}.f32", records_of(frames))
    disk.write_json(folder / "s.json", settings_of(ncat=2))
    succeeds("train", "--settings", "s.json", "--features", "b.f32", "c.f32", "-o", "net", cwd=folder)
    for name in ("b", "c", "held"):
        succeeds("encode", "net/weights.safetensors", f"{name}.f32", "-o", f"l_{name}.f32", cwd=folder)
    succeeds("vq-train", "l_b.f32", "-k", 4, "-m", 16, "-o", "q1.f32", "--residual", "r.f32", cwd=folder)
    succeeds("vq-train", "r.f32", "-k", 4, "-m", 8, "-o", "q2.f32", cwd=folder)
    for name in ("b", "c", "held"):
        succeeds("vq-search", f"l_{name}.f32", "-k", 4, "-q", "q1.f32,q2.f32", "-o", f"h_{name}.f32", cwd=folder)
    records.write_f32(folder / "short.f32", np.zeros((150, 4), np.float32))
    disk.write_json(folder / "other.json", settings_of(ncat=2, dct=True))
    disk.write_json(folder / "fsq.json", settings_of(nn=5, nvq=2))
    return folder


ON = ["train-on", "net/weights.safetensors", "--settings", "s.json", "--features", "b.f32", "c.f32"]


@pytest.mark.parametrize(
    "words",
    [
        ["--latents", "h_b.f32", "h_c.f32"],
        ["--latents", "h_b.f32", "h_c.f32", "--held-out", "held.f32", "--held-out-latents", "h_held.f32"],
        ["--loop", "q1.f32,q2.f32"],
        [],
    ],
    ids=["latents", "held-out latents", "loop", "initial"],
)
def test_the_command_trains_on_and_tells_what_it_read(folder, tmp_path, words):
    succeeds(*ON, *words, "-o", tmp_path / "net", cwd=folder)
    assert inference.load(tmp_path / "net/weights.safetensors")[1] == settings_of(ncat=2)
    told = disk.read_json(tmp_path / "net/provenance.json")["files"]
    named = [name for word in words if not word.startswith("--") for name in word.split(",")]
    assert {"net/weights.safetensors", "b.f32", "c.f32", *named} == set(told)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--latents", "h_b.f32"], "--latents: 1 files, expected 2, one for each of the features"),
        (["--latents", "h_b.f32", "short.f32"], "short.f32: 150 vectors, expected 45 as of c.f32"),
        (["--held-out-latents", "h_held.f32"], "--latents: 0 files, expected 2"),
        (
            ["--latents", "h_b.f32", "h_c.f32", "--held-out", "held.f32"],
            "--held-out-latents: 0 files, expected 1, one for each of the features",
        ),
        (["--latents", "h_b.f32", "h_c.f32", "--loop", "q1.f32"], "codebooks: found with latents"),
        (["--loop", "q1.f32,"], "--loop: found 'q1.f32,', expected names of codebooks"),
        (["--loop", "none.f32"], "none.f32: "),
        (["--settings", "other.json"], "dct: found True, expected False as of the initial weights"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_what_does_not_fit_ends_in_one_line(folder, tmp_path, words, says):
    ended = run(*ON, *words, "-o", tmp_path / "net", cwd=folder)
    assert ended.status == 1 and len(ended.err) == 1 and ended.err[0].startswith(f"mlquant train-on: {says}")
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize(
    ("weights", "says"), [("b.f32", "b.f32: not weights written by mlquant train"), ("none", "none: no such file")]
)
def test_what_is_no_network_is_not_trained_on(folder, tmp_path, weights, says):
    ended = run("train-on", weights, *ON[2:], "-o", tmp_path / "net", cwd=folder)
    assert ended.status == 1 and len(ended.err) == 1 and ended.err[0].startswith(f"mlquant train-on: {says}")
    assert not (tmp_path / "net").exists()
