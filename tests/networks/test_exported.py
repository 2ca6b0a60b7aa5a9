"""Networks as ONNX files give what they give here."""

import json
import sys

import numpy as np
import pytest
import safetensors.numpy
import torch
from support.codecs import small_codec
from support.commands import fails, succeeds
from test_networks import FSQ, LAYERS, NOISY, RESIDUAL_VQ, VQ, settings_of

from mlquant.codecs import files
from mlquant.networks import context, inference, model

runtime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
pytest.importorskip("onnxscript", reason="needs the extra onnx")
QUICK = [VQ]


def weights(path, settings):
    """Write the weights of a network as it is at the beginning; codebooks have seen one batch."""
    torch.manual_seed(1)
    network = model.Network(settings)
    if network.quantiser is not None:
        network.train()
        network(torch.from_numpy(features(settings, 2048)))
    state = {name: tensor.contiguous().numpy() for name, tensor in network.eval().state_dict().items()}
    safetensors.numpy.save_file(state, path, {"settings": json.dumps(settings)})
    return path


def features(settings, sequences):
    """Inputs of a network."""
    rng, width = np.random.default_rng(1), 79 if model.row_of(settings).source == "y" else 22
    drawn = rng.normal(30, 9, (sequences * settings["ncat"], width)).astype(np.float32)
    if width == 22:
        drawn[:, 20], drawn[:, 21] = rng.uniform(0.04, 0.3, len(drawn)), 1
    return inference.vectors(settings, drawn)


def run(path, **inputs):
    return runtime.InferenceSession(str(path)).run(None, inputs)


def check(folder, settings):
    path = weights(folder / "weights.safetensors", settings)
    succeeds("export", path, "-o", folder / "onnx", "--onnx")
    network, _ = inference.load(path)
    for sequences in (1, 7):
        x = features(settings, sequences)
        latents = network.encode(x)
        if (folder / "onnx/encoder.onnx").exists():
            np.testing.assert_allclose(run(folder / "onnx/encoder.onnx", x=x)[0], latents, atol=1e-5)
        else:
            np.testing.assert_array_equal(latents, x)
        output = run(folder / "onnx/decoder.onnx", latents=latents)[0]
        np.testing.assert_allclose(output, network.decode(latents), atol=1e-4)
    assert sorted(path.name for path in (folder / "onnx").iterdir())[0] == "decoder.onnx"


@pytest.mark.parametrize(
    ("family", "nn"), [pytest.param(*key, marks=[] if key in QUICK else pytest.mark.slow) for key in LAYERS]
)
def test_a_network_is_the_same(family, nn, tmp_path):
    check(tmp_path, settings_of(family, nn))


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        settings_of("autoencoder1", 2, ncat=3, dct=True, zero_mean=True),
        {**NOISY, "symbols": True},
        settings_of(*FSQ, nvq=2),
        settings_of(*RESIDUAL_VQ, nvq=3),
    ],
    ids=["cosines of several frames", "symbols", "several scalars", "several codebooks"],
)
def test_so_is_one_with_other_settings(settings, tmp_path):
    check(tmp_path, settings)


@pytest.mark.slow
@pytest.mark.parametrize("frames", [4, 8])
def test_the_networks_of_a_codec_are_the_same(frames, tmp_path):
    codec = small_codec(frames=frames)
    files.write(tmp_path / "codec", codec, {"name": "codec"})
    succeeds("export", tmp_path / "codec", "-o", tmp_path / "c", "--onnx")
    assert {"codec.c", "context.onnx", "beside.onnx"} <= {path.name for path in (tmp_path / "c").iterdir()}
    rng = np.random.default_rng(1)
    for n in (1, 5):
        before, own, after = rng.normal(0, 10, (3, n, 23 * frames)).astype(np.float32)
        y_hat = run(tmp_path / "c/context.onnx", before=before, own=own, after=after)[0]
        expected = context.spectra(codec.layers, before, own, after)
        np.testing.assert_allclose(y_hat.reshape(expected.shape), expected, atol=1e-3)
        before, known = rng.normal(0, 1, (2, n, 2 * frames + 3)).astype(np.float32)
        for found, expected in zip(
            run(tmp_path / "c/beside.onnx", before=before, known=known), codec.shape.told(before, known), strict=True
        ):
            np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_network_is_no_codec(tmp_path):
    path = weights(tmp_path / "weights.safetensors", settings_of("manifold", 3))
    assert "C is made of codecs only" in fails("export", path, "-o", tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_without_the_extra_it_says_so_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    path = weights(tmp_path / "weights.safetensors", settings_of("manifold", 3))
    assert "--onnx: onnxscript is not installed" in fails("export", path, "-o", tmp_path / "c", "--onnx")
    assert not (tmp_path / "c").exists()
