"""Everything of the package that runs for a result counts in its key: each command of a small workflow is traced."""

import ast
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import threading
from functools import cache
from itertools import takewhile

import pytest
import soundfile
import yaml
from support.commands import succeeds
from support.workflow import ROOT, synthetic_speech

from mlquant import cli, studies
from mlquant.core import keys
from mlquant.core.definitions import Package

PACKAGE = ROOT / "src/mlquant"

# Every command, and the ways that it can go: networks with and without a bottleneck, of one frame and of several, of b
# and of y, run by numpy and by torch, trained on in each way; quantisers of each kind; studies of each kind.
NETWORK = {"corpus": "few", "lr": 1.0e-3, "epochs": 2, "batch": 32}
B_TO_B = {**NETWORK, "family": "autoencoder1", "nn": 4, "d": 4, "noise_var": 1.0e-3}
VOCODER = {"process": "vocoder", "tag": "v", "networks": ["nn4", "manifold"]}
CONFIG = {
    "sources": {"archive": {"urls": [{"url": "file://FOLDER/archive.tar"}]}},
    "samples": {
        "ann": {"sex": "f", "source": "archive", "file": "ann.wav"},
    },
    "corpora": {
        "few": {"parts": {"own": {"files": "voices/*.wav", "resample": [1.0, 1.1], "equalise": 3.0, "noise": [20, 30],
                                  "gain": [-3, 3]}}},
        "apart": {"parts": {"own": {"source": "archive", "include": ["*[12].wav"], "speakers": r"voice(\d)",
                                    "held_out_speakers": 1, "minutes": 1}}},
    },
    "networks": {
        "manifold": {**NETWORK, "family": "manifold", "nn": 1, "voiced_only": True, "thresh": 10},
        "pitch": {**NETWORK, "family": "manifold", "nn": 4, "corpus": "apart", "loss": "sd", "schedule": "constant"},
        "nn4": B_TO_B,
        "dct": {**B_TO_B, "family": "autoencoder4", "nn": 6, "dct": True, "zero_mean": True, "lower_limit_dB": 0,
                "corpus": "apart"},
        "conv": {**NETWORK, "family": "autoencoder1", "nn": 3, "d": 4, "ncat": 4, "optimiser": "sgd"},
        "scalars": {**NETWORK, "family": "autoencoder1", "nn": 5, "d": 4},
        "inside": {**NETWORK, "family": "autoencoder1", "nn": 7, "nvq": 2},
        "of_y": {**NETWORK, "family": "autoencoder2", "nn": 1, "d": 4},
        "symbols": {**B_TO_B, "symbols": True},
        "tuned": {"finetune": "manifold", "quantiser": "lbg", "stages": 1, "epochs": 1},
        "decoder": {"finetune": "plain", "quantiser": "lbg_plain", "epochs": 1},
        "plain": {**B_TO_B, "nn": 2, "noise_var": 0.0},
        "loop": {"vq_in_loop": "plain", "quantiser": "lbg_plain", "epochs": 2, "refresh": 1},
    },
    "quantisers": {
        "lbg": {"network": "nn4", "thresh": 5, "stages": [{"size": 8}, {"size": 8}]},
        "lbg_plain": {"network": "plain", "stages": [{"size": 8}, {"size": 8}]},
        "beam": {"kind": "beam", "mbest": 3, "network": "nn4", "interval_ms": 20, "stages": [{"size": 8}, {"size": 8}]},
        "fitted": {"kind": "predictive", "corpus": "few", "mbest": 2, "predict": "fit", "interval_ms": 20,
                   "reset_every": 20, "stages": [{"size": 8}, {"size": 8}]},
        "given": {"kind": "predictive", "network": "nn4", "mbest": 2, "predict": 0.5, "stages": [{"size": 8}]},
        "energy": {"kind": "superframe", "of": "energy", "frames": 4, "stages": [{"size": 8}]},
        "shape": {"kind": "superframe", "of": "shape", "frames": 4, "stages": [{"size": 8}, {"size": 8}]},
    },
    "codecs": {"whole": {"corpus": "few", "energy": "energy", "shape": "shape",
                         "network": {"hidden": [8], "epochs": 1, "finetune": 1, "batch": 16, "dropout": 0.1}},
               "whole_8": {"like": "whole", "eight_bit": True}},
    "experiments": {
        "all": {
            "title": "",
            "samples": ["ann"],
            "outputs": {
                "1": {"tag": "out", "process": "original"},
                "2": {"tag": "1300", "process": "codec2", "mode": 1300},
                "3": {**VOCODER, "networks": ["pitch"]},
                "4": {**VOCODER, "networks": ["nn4", "manifold"], "noise_var": 1.0e-3},
                "5": {**VOCODER, "quantiser": "lbg", "stages": 2, "mbest": 3, "postfilter": 1.2},
                "6": {**VOCODER, "quantiser": "beam", "stages": 2},
                "7": {**VOCODER, "networks": ["manifold"], "quantiser": "fitted", "stages": 2},
                "8": {**VOCODER, "quantiser": "given", "stages": 1},
                "9": {**VOCODER, "networks": ["decoder", "tuned"], "quantiser": "lbg_plain", "stages": 1},
                "10": {**VOCODER, "networks": ["loop", "manifold"]},
                **{str(11 + i): {**VOCODER, "networks": [name, "manifold"]}
                   for i, name in enumerate(("dct", "conv", "scalars", "inside", "symbols"))},
                "16": {**VOCODER, "networks": ["of_y"]},
                "17": {"tag": "whole", "process": "codec", "codec": "whole"},
            },
        },
        "other": {"title": "", "samples": ["ann"], "test_set": "own", "outputs": {
            "1": {"tag": "out", "process": "original"}, "5": {**VOCODER, "quantiser": "lbg", "stages": 1}}},
    },
    "sweeps": {"rates": {"title": "", "base": B_TO_B,
                         "rows": {"plain": {}, "diverges": {"lr": 1.0e9, "optimiser": "sgd"}}}},
    "test_sets": {"own": {"source": "archive", "include": ["ann.wav"], "shards": 1}},
    "studies": {
        "codec": {"kind": "codec", "codecs": ["whole"], "test_set": "own", "modes": ["1300"], "bers": [0.01],
                  "losses": [0.1]},
        "memory": {"kind": "memory", "codecs": ["whole", "whole_8"], "test_set": "own"},
        "measures": {"kind": "measures", "experiment": "other", "test_set": "own", "modes": ["3200"], "noises": [20],
                     "postfilters": [1.0, 1.2]},
        "noise": {"kind": "noise", "quantiser": "lbg", "noise_vars": [0, 0.01]},
        "uniform_vq": {"kind": "uniform_vq", "quantiser": "lbg"},
        "latents": {"kind": "latents", "network": "nn4", "lags": 3},
        "mbest": {"kind": "mbest", "quantiser": "lbg", "stages": [1, 2], "mbest": [1, 3]},
        "analog": {"kind": "analog", "base": {**NETWORK, "family": "autoencoder1", "nn": 4}, "d": [4], "snr_dB": [0],
                   "quantiser": "lbg", "sample": "ann", "manifold": "manifold", "wav_snr_dB": [0]},
        "demo": {"kind": "demo", "network": "nn4", "sample": "ann", "frames": 2},
        "bits": {"kind": "bits", "samples": ["ann"], "corpus": "apart", "network": "dct", "manifold": "pitch",
                 "kinds": {"lbg": {}, "beam": {"mbest": 2}, "predictive": {"mbest": 2, "predict": "fit"}},
                 "sizes": [8], "bits": 6, "interval_ms": [20], "seconds": 1,
                 "chains": {"reset": {"networks": ["manifold"], "quantiser": "fitted", "stages": [1]}}},
    },
}  # fmt: skip
TARGETS = [
    *(
        f"results/{name}"
        for name in ("all_wav", "other_wav", "sweeps/rates", "compare/all_vs_other", "listening/other")
    ),
    *(f"results/studies/{name}" for name in CONFIG["studies"]),
]


class Trace:
    """The functions of the package that are called, each by file and first line.

    A process that is forked tells of its calls through the same file. Left out are calls while a module is imported,
    which make constants that count by themselves, and what the ground calls, such as settings that check themselves.
    """

    def __init__(self, path):
        self.file, self.seen, self.path = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), set(), path

    def __enter__(self):
        self.before = sys.gettrace(), threading.gettrace()
        threading.settrace(self.called)
        sys.settrace(self.called)
        return self

    def __exit__(self, *_):
        sys.settrace(self.before[0])
        threading.settrace(self.before[1])
        os.close(self.file)

    def places(self):
        return set(self.path.read_text().split())

    def called(self, frame, event, argument):
        code = frame.f_code
        if not code.co_filename.startswith(f"{PACKAGE}/") or not code.co_filename.endswith(".py"):
            return
        place = f"{code.co_filename.removeprefix(f'{PACKAGE}/')}:{code.co_firstlineno}"
        if place in self.seen or not code.co_flags & inspect.CO_OPTIMIZED:  # that is, the body of a module or a class
            return
        above = frame.f_back
        while above:
            name = above.f_code.co_filename
            if name.startswith(f"{PACKAGE}/") and (above.f_code.co_name == "<module>" or is_ground_file(name)):
                return
            above = above.f_back
        self.seen.add(place)
        os.write(self.file, f"{place}\n".encode())


@cache
def is_ground_file(name):
    """Whether a file is of the ground; what fetching hands over to counts."""
    module = f"mlquant.{name.removeprefix(f'{PACKAGE}/').removesuffix('.py').replace('/', '.')}"
    return Package(PACKAGE)._is_ground(module, "") and module != "mlquant.speech.fetch"


def commands(checkout, *targets):
    """The words of the commands that the workflow would run, in their order."""
    command = ["snakemake", "-n", "-p", "--cores", "1", *targets]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    for line in re.findall(r"^Shell command: mlquant (.*)$", done.stdout + done.stderr, re.MULTILINE):
        yield [*takewhile(lambda word: word not in (">", "2>&1", "|"), shlex.split(line))]


def forget():
    """Clear what the package has cached in this process, so that each command runs as in one of its own."""
    for name, module in [*sys.modules.items()]:
        if name.startswith("mlquant.") and name != "mlquant.core.keys":
            for value in vars(module).values():
                if hasattr(value, "cache_clear"):
                    value.cache_clear()


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """Words of each command that the workflow runs, and what functions of the package were called."""
    folder = tmp_path_factory.mktemp("traced")
    checkout = folder / "checkout"
    for name in ("workflow", "envs"):
        shutil.copytree(ROOT / name, checkout / name)
    shutil.copy(ROOT / "Snakefile", checkout)
    for path in (checkout / "workflow/config").glob("*.yaml"):
        path.unlink()
    config = json.loads(json.dumps(CONFIG).replace("FOLDER", str(checkout)))
    (checkout / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (checkout / "voices").mkdir()
    for i in (1, 2):
        soundfile.write(checkout / f"voices/voice{i}.wav", synthetic_speech(2.0, 100 + 40 * i, i), 8000, "PCM_16")
    soundfile.write(checkout / "ann.wav", synthetic_speech(1.0, 120, 3), 8000, "PCM_16")
    with tarfile.open(checkout / "archive.tar", "w") as tar:
        for path in (checkout / "ann.wav", *(checkout / "voices").iterdir()):
            tar.add(path, path.name)
    found = []
    for targets in (TARGETS, ["report"]):  # which is of what is there
        for words in commands(checkout, *targets):
            if targets == TARGETS or words[0] == "report":
                forget()
                with Trace(folder / str(len(found))) as trace:
                    succeeds(*words, cwd=checkout)
                if words[0] == "study":  # its settings, in place of the file that they are in
                    words[1] = (checkout / words[1]).read_text(encoding="utf-8")
                found.append((words, trace.places()))
    return found


@cache
def definition_at(place):
    """The definition of the package that a line is of, as `keys.reached` names it."""
    name, _, line = place.rpartition(":")
    module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    for statement in ast.parse((PACKAGE / name).read_bytes()).body:
        decorators = [decorator.lineno for decorator in getattr(statement, "decorator_list", ())]
        if min([statement.lineno, *decorators]) <= int(line) <= statement.end_lineno:
            if isinstance(statement, ast.FunctionDef | ast.ClassDef):
                return f"{module}.{statement.name}"
            names = (node for node in ast.walk(statement) if isinstance(node, ast.Name))
            return f"{module}.{next(node.id for node in names if isinstance(node.ctx, ast.Store))}"
    raise AssertionError(place)


def counted(words):
    """All that counts for what a command makes."""
    command = words[0]
    entries = [cli.stages()[command].entry]
    if command == "study":
        entries += studies.computed_by(json.loads(words[1])["kind"])
    if command == "report":
        entries += [f"{study.__name__}:report" for study in studies.kinds().values()]
    return {name for entry in entries for name in keys.reached(entry)}


def is_aside(definition):
    """Whether a definition is of the ground or of the command line, which hands values to the function of a command."""
    module, _, name = definition.rpartition(".")
    return module == "cli" or Package(PACKAGE)._is_ground(f"mlquant.{module}", name)


pytestmark = pytest.mark.slow


def test_all_commands_that_make_results_are_traced(traced):
    there = {words[0] for words, _ in traced}
    by_users = {"ratings", "export"}  # of answers that no workflow makes; and for another machine
    made = {name for name, stage in cli.stages().items() if not stage.entry.startswith("mlquant.tools.")}
    assert there == made - by_users
    assert {json.loads(words[1])["kind"] for words, _ in traced if words[0] == "study"} == studies.kinds().keys()


def test_every_definition_that_ran_for_a_result_counts_in_its_key(traced):
    missing = {}
    for words, places in traced:
        ran = {definition_at(place) for place in places}
        assert cli.stages()[words[0]].entry.removeprefix("mlquant.").replace(":", ".") in ran
        if left := {name for name in ran - counted(words) if not is_aside(name)}:
            missing.setdefault(words[0], set()).update(left)
    assert missing == {}
