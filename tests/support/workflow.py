"""A checkout of the project to run and to edit: a copy with the configuration under an overlay, and some speech.

The copy's package is the one that Snakemake and the commands import. Speech is the reference's where it is found, else
synthetic.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import yaml
from support.reference import found

from mlquant.plan import config

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = Path(sys.executable).parent

# Over config.yaml, so that the published experiment itself runs: its outputs, names and chains, on other speech.
OVERLAY = {
    "samples": {
        "late": {"url": "file:///no/such/folder/late.raw", "optional": True, "sex": "f"},
        "gone": {"url": "file:///no/such/folder/gone.raw"},
    },
    "corpora": {"few": {"parts": {"own": {"files": "voices/*.wav", "resample": [1.0, 1.1]}}}},
    "networks": {
        "manifold": {"corpus": "few", "epochs": 30, "batch": 8},
        "nn4_cat1": {"corpus": "few", "epochs": 30, "batch": 8},
    },
    "quantisers": {"nn4_vq": {"stages": [{"size": 32}, {"size": 16}, {"size": 16}]}},
    "experiments": {
        "240118": {"samples": ["ann"], "test_set": None},
        "pair": {
            "title": "",
            "samples": ["bob", "ann", "late"],
            "outputs": {
                "1": {"tag": "out", "process": "original", "processing": "original phases"},
                "8": {"tag": "1300", "process": "codec2", "mode": 1300, "processing": "Codec 2"},
            },
        },
    },
}
TABLES = (
    "README.md",
    "anchors.csv",
    "columns.csv",
    "config.yaml",
    "frames.csv",
    "means.csv",
    "measures.csv",
    "provenance.json",
    "set_means.csv",
    "set_pairs.csv",
    "utterances.csv",
)


def synthetic_speech(seconds, hertz, seed):
    """Speech-like sound [N] int16: vowels of changing pitch and formants, hiss, and silence between them."""
    draw = np.random.default_rng(seed)
    pieces = []
    while sum(map(len, pieces)) < 8000 * seconds:
        n = int(draw.integers(1600, 3200))
        t = np.arange(n) / 8000
        pitch = hertz * (1 + 0.2 * np.sin(2 * np.pi * draw.uniform(1, 4) * t + draw.uniform(0, 6)))
        phase = 2 * np.pi * np.cumsum(pitch) / 8000
        formants = draw.uniform((300, 900, 2200), (800, 2000, 3200))
        vowel = np.zeros(n)
        for m in range(1, int(3600 / pitch.max())):
            gain = sum(1 / (1 + ((m * pitch - formant) / 120) ** 2) for formant in formants)
            vowel += (0.02 + gain) * np.cos(m * phase)
        pieces += [
            2000 * vowel * np.hanning(n),
            300 * np.diff(draw.standard_normal(int(draw.integers(400, 1200)) + 1)),
            np.zeros(int(draw.integers(200, 800))),
        ]
    speech = np.concatenate(pieces)[: round(8000 * seconds)]
    return np.clip(np.rint(speech + draw.normal(0, 2, len(speech))), -32768, 32767).astype(np.int16)


def speech_of(name, seconds, hertz, seed):
    """A second or two of a sample of the reference, from where it speaks, or something like it."""
    path = found(f"speech/{name}.raw")
    if not path:
        return synthetic_speech(seconds, hertz, seed)
    return np.fromfile(path, "<i2")[4000 : 4000 + round(8000 * seconds)]


@dataclass
class Done:
    """A finished call of Snakemake."""

    status: int
    text: str

    @property
    def rules(self):
        """How many jobs of each rule ran or would run, without the target rule."""
        stats = re.search(r"^Job stats:\njob +count\n[- ]+\n(.*?)^total", self.text, re.DOTALL | re.MULTILINE)
        counts = dict(line.split() for line in stats[1].splitlines()) if stats else {}
        assert stats or "Nothing to be done" in self.text, self.text
        return {rule: int(count) for rule, count in counts.items() if rule != "all_experiments"}

    @property
    def stages(self):
        """Names, without keys, of the stages whose jobs are shown, and of the folders gathered."""
        return set(re.findall(r"^Job \d+: .*?([\w-]+)(?:\.[0-9a-f]{8}\b| \(|$)", self.text, re.MULTILINE))


@dataclass
class Checkout:
    """A copy of the checkout, to run and to edit."""

    folder: Path

    def start(self, *arguments, overlay=None, source="src", env=None, **options):
        command = [str(COMMANDS / "snakemake"), *map(str, arguments)]
        if overlay:
            path = self.folder / f"overlay_{hashlib.sha256(json.dumps(overlay).encode()).hexdigest()}.yaml"
            path.write_text(yaml.safe_dump(overlay), encoding="utf-8")
            command += ["--configfile", path.name]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(self.folder / source)} | (env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **options,
        )

    def run(self, *arguments, **options):
        process = self.start(*arguments, **options)
        try:
            text, _ = process.communicate(timeout=1200)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return Done(process.returncode, text)

    def outputs(self, index, **changes):
        """An overlay that changes the output of an index in the published experiment."""
        return {"experiments": {"240118": {"outputs": {index: changes}}}}

    def copy(self, folder):
        """A copy in which Snakemake finds as little to do as here: times of files are kept."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Checkout(folder)

    def files(self, pattern):
        found = {path.relative_to(self.folder) for path in self.folder.glob(pattern)}
        return {str(path) for path in found if not path.name.startswith(".snakemake")}

    def bytes(self, pattern):
        return {path: (self.folder / path).read_bytes() for path in self.files(pattern)}


def configuration():
    """The configuration of the repository, as it is read."""
    return config.read(ROOT)


def copy_of_checkout(folder, overlay=OVERLAY):
    """A checkout with the configuration under an overlay, and some speech; nothing has run in it."""
    folder.mkdir()
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(ROOT / name, folder)
    for name in ("workflow", "envs", "src"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    (folder / "profiles").symlink_to("workflow/profiles")
    raw = config.merged(configuration(), overlay)
    raw["experiments"] = {name: raw["experiments"][name] for name in overlay["experiments"]}
    for section in ("listening", "studies"):  # without those of experiments that are not there
        entries = raw[section].items()
        raw[section] = {
            name: one for name, one in entries if one.get("experiment", name) in (name, *raw["experiments"])
        }
    (folder / "config.yaml").write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    for path in config.files(folder):  # all of it is in config.yaml
        if path.parent.name == "config":
            path.unlink()

    (folder / "speech").mkdir()
    speech_of("big_dog", 1.0, 110, 1).astype("<i2").tofile(folder / "speech" / "ann.raw")
    bob = speech_of("hts1a", 1.0, 90, 2)
    soundfile.write(folder / "speech" / "bob.wav", np.repeat(bob, 2), 16000, "PCM_16")
    (folder / "voices").mkdir()
    for i, (name, hertz) in enumerate((("kristoff", 130), ("mmt1", 100))):
        soundfile.write(folder / "voices" / f"{name}.wav", speech_of(name, 3.0, hertz, 3 + i), 8000, "PCM_16")
    soundfile.write(folder / "voices" / "a tone.wav", synthetic_speech(2.0, 210, 5), 8000, "PCM_16")
    return Checkout(folder)


def not_activated(folder):
    """An environment that Snakemake is called in by its path, where another `mlquant` comes first on the PATH.

    That one does nothing but fail.
    """
    folder.mkdir()
    (folder / "mlquant").write_text("#!/bin/sh\nexit 3\n", encoding="utf-8")
    (folder / "mlquant").chmod(0o755)
    others = [place for place in os.environ["PATH"].split(os.pathsep) if Path(place) != COMMANDS]
    return {"PATH": os.pathsep.join([str(folder), *others])}


def finished_run(base):
    """The checkout in which one cold run on two cores has made everything, and that run; made by who comes first.

    It is called by its path, in no activated environment.

    `base` is a folder that all processes of the tests share. What runs or edits takes a copy.
    """
    checkout, record = Checkout(base / "finished"), base / "finished.json"
    with open(base / "finished.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not record.exists():
            done = copy_of_checkout(checkout.folder).run("--cores", 2, env=not_activated(base / "not_activated"))
            record.write_text(json.dumps([done.status, done.text]), encoding="utf-8")
    return checkout, Done(*json.loads(record.read_text(encoding="utf-8")))
