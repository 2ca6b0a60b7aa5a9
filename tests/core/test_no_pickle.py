"""Nothing that is read can run code: models and data are tensors, numbers and JSON, and a pickle is one clear line."""

import ast
import json
import os
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mlquant import cli
from mlquant.core import disk, records
from mlquant.core.blocks import validate
from mlquant.networks import training
from mlquant.networks.settings import NetworkSettings

ROOT = Path(__file__).parents[2]
MODULES = [path for folder in ("src", "workflow", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
RULES = [ROOT / "Snakefile", *sorted((ROOT / "workflow").rglob("*.smk"))]  # which are not quite Python

PICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "jsonpickle"}
RUNS_TEXT = {"eval", "exec", "compile", "__import__"}
FUNCTIONS = {"torch.load", "torch.save", "torch.jit.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load"}
METHODS = {"read_pickle", "to_pickle", "unpickle"}
OF_NUMPY = {"load", "save", "savez", "savez_compressed"}  # which must be told not to
SETTINGS = {"family": "autoencoder1", "nn": 2, "d": 2, "lr": 1e-3, "epochs": 1, "batch": 2, "held_out": 0.4}


def unsafe(text: str) -> list[str]:
    """What in the text of a module unpickles, or runs text as code."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in PICKLES]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name for name in names if name.split(".")[0] in PICKLES or name in FUNCTIONS]
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            package, _, function = name.rpartition(".")
            told = any(word.arg == "allow_pickle" and ast.unparse(word.value) == "False" for word in node.keywords)
            if (
                name in RUNS_TEXT | FUNCTIONS
                or function in METHODS
                or (package in ("np", "numpy") and function in OF_NUMPY and not told)
            ):
                found.append(name)
    return found


def test_no_module_and_no_rule_unpickles_or_runs_text():
    assert len(MODULES) > 30 and len(RULES) > 5
    found = {path: unsafe(path.read_text(encoding="utf-8")) for path in MODULES}
    names = "|".join(map(re.escape, [*PICKLES, *FUNCTIONS, *METHODS, "eval(", "exec("]))
    found |= {path: re.findall(rf"(?<![\w.])(?:{names})", path.read_text(encoding="utf-8")) for path in RULES}
    assert {str(path.relative_to(ROOT)): what for path, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib.externals",
        "from torch import load",
        "torch.load(path, weights_only=True)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.save(path, array)",
        "yaml.load(text, Loader=yaml.Loader)",
        "pd.read_pickle(path)",
        "eval(text)",
    ],
)
def test_the_search_finds_what_it_looks_for(line):
    assert unsafe(f"def f():\n    {line}")
    assert not unsafe("re.compile(text)\nnetwork.eval()\nyaml.safe_load(text)\nnp.load(path, allow_pickle=False)")


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
