"""Nothing that is read can run code: models and data are tensors, numbers and JSON, and a pickle is one clear line."""

import json
import os
import pickle
import sys

import numpy as np
import pytest
import torch

from mlquant import cli
from mlquant.core import disk, records
from mlquant.core.blocks import validate
from mlquant.networks import training
from mlquant.networks.settings import NetworkSettings

SETTINGS = {"family": "autoencoder1", "nn": 2, "d": 2, "lr": 1e-3, "epochs": 1, "batch": 2, "held_out": 0.4}


class Malicious:
    """What makes a folder when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.fixture(params=["plain", "text", "torch", "numpy"])
def malicious(request, tmp_path_factory):
    """The bytes of a pickle, as it is, as torch and as numpy write it, and the folder that unpickling it makes."""
    folder = tmp_path_factory.mktemp("malicious")
    bad, path = Malicious(folder / "mark"), folder / "p.npy"
    match request.param:
        case "torch":
            torch.save({"settings": bad}, path)
        case "numpy":
            np.save(path, np.array([bad], object), allow_pickle=True)
        case kind:
            path.write_bytes(pickle.dumps(bad, 0 if kind == "text" else None))
    yield path.read_bytes(), bad.mark
    assert not bad.mark.exists()
    match request.param:
        case "torch":
            torch.load(path, weights_only=False)
        case "numpy":
            np.load(path, allow_pickle=True)
        case _:
            pickle.loads(path.read_bytes())
    assert bad.mark.is_dir()  # so that it would have shown


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights that can be used."""
    folder = tmp_path_factory.mktemp("net")
    settings = validate(NetworkSettings, SETTINGS, "settings").model_dump()
    training.train(settings, [np.ones((9, 22), np.float32)], None, folder)
    return folder / "weights.safetensors"


USES = {
    "weights.safetensors": ["infer", "weights.safetensors", "good.f32", "-o", "out"],
    "b.f32": ["infer", "good.safetensors", "b.f32", "-o", "out"],
    "model.bin": ["features", "model.bin", "--b", "out"],
    "speech.wav": ["analyse", "speech.wav", "-o", "out"],
    "l.npy": ["vq-search", "l.npy", "-k", "7", "-q", "l.npy", "-o", "out"],
    "settings.json": ["train", "--settings", "settings.json", "--features", "good.f32", "-o", "out"],
    "record.json": ["measure", "record.json", "-o", "out"],
    "speech.tar": ["prepare-sample", "speech.tar", "--member", "*", "-o", "out.raw"],
}


@pytest.mark.parametrize("name", USES)
def test_a_pickle_under_any_name_is_refused_in_one_line(tmp_path, monkeypatch, malicious, weights, name):
    disk.write_bytes(tmp_path / "good.safetensors", weights.read_bytes())
    records.write_f32(tmp_path / "good.f32", np.ones((3, 22)))
    (tmp_path / name).write_bytes(malicious[0])
    before = sorted(tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["mlquant", *USES[name]])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code.isprintable() and name in ended.value.code
    assert sorted(tmp_path.iterdir()) == before


def test_a_pickle_in_place_of_a_checkpoint_is_not_continued(tmp_path, capsys, malicious, weights):
    (tmp_path / training.CHECKPOINT).write_bytes(malicious[0])
    settings = json.loads((weights.parent / "settings.json").read_text())
    training.train(settings, [np.ones((9, 22), np.float32)], None, tmp_path)
    told = capsys.readouterr().err.splitlines()
    assert training.CHECKPOINT in told[0] and "starting anew" in told[0] and told[0].isprintable()
    assert (tmp_path / "weights.safetensors").read_bytes() == weights.read_bytes()
