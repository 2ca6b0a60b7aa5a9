"""Damaged files and settings end in a result or in one clear line: no traceback, no hang, no memory without bound.

`python tests/test_fuzz.py 100000 7` tries so many inputs, drawn from this seed.
"""

import bz2
import copy
import gzip
import hashlib
import io
import json
import lzma
import multiprocessing
import os
import random
import re
import resource
import signal
import struct
import sys
import tarfile
import tempfile
import traceback
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import soundfile
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mlquant.core import disk, records
from mlquant.core.blocks import validate
from mlquant.core.errors import InputError
from mlquant.networks import inference, model, rows, training
from mlquant.networks.settings import NetworkSettings
from mlquant.plan import config
from mlquant.quantisers import vq
from mlquant.speech import archives, fetch
from mlquant.vocoder import features, synthesis

SEED = 20240118
SECONDS = 5  # that an input may take
MEMORY = 1 << 30  # bytes that all inputs of a kind may take beyond what was taken before
CONFIG = yaml.safe_dump(config.read(Path(__file__).parents[2]), sort_keys=False).encode()
"""All of the configuration, as one file."""
FRAMES = 12

# Each kind with how many inputs are tried in a run of the tests.
COUNTS = {
    "f32": 300,
    "codebook": 150,
    "model": 200,
    "speech": 900,
    "json": 250,
    "weights": 350,
    "checkpoint": 150,
    "config": 250,
}
COUNTS["archive"] = 250


# --- damage ----------------------------------------------------------------------------------------------

WHOLE = [0, 1, -1, 2, 3, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
WHOLE += [100_000_000_000, 1 << 36, (1 << 63) - 1, -(1 << 63), (1 << 64) - 1]
REAL = [float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1e-45, -1e-45, 3.4e38, -3.4e38, 1e19, 1e300, -5e-324]
ODD = [None, True, False, 0, -1, 1, 1.5, 10**9, 10**18, 10**40, -(10**400), 1e300, float("nan"), float("inf"), "", " "]
ODD += ["x", "-1", "1e3", "nan", "é\n\x1b[2J\u202e", "\ud800", "a" * 100_000, "../" * 50, "$(touch x)", "<img onerror>"]
ODD += [[], {}, [[]], {"": ""}, {"a": None}, [0] * 1000, [None], b"\xff".decode("latin-1")]


def _number(rng: random.Random) -> bytes:
    order = rng.choice("<>")
    if rng.random() < 0.4:
        return struct.pack(
            f"{order}{rng.choice('fd')}", rng.choice([value for value in REAL if not 3.5e38 < abs(value) < 1e301])
        )
    value, size = rng.choice(WHOLE), rng.choice([1, 2, 4, 8])
    return (value % (1 << 8 * size)).to_bytes(size, "little" if order == "<" else "big")


def damaged(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Bytes with one to eight things done to them; `others` are valid files to take pieces of."""
    new = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        # Headers are small and full of meaning.
        at = rng.randrange(min(len(new), 100) + 1) if rng.random() < 0.6 else rng.randrange(len(new) + 1)
        length = rng.choice([1, 2, 4, 8, 60, 1000])
        match rng.randrange(9):
            case 0:
                del new[at:]
            case 1:
                new += rng.randbytes(length)
            case 2:
                for place in range(at, min(at + rng.choice([1, 1, 4]), len(new))):
                    new[place] ^= 1 << rng.randrange(8)
            case 3:
                new[at : at + length] = rng.randbytes(length)
            case 4 | 5:
                number = _number(rng)
                at -= at % rng.choice([1, 2, 4])
                new[at : at + len(number)] = number
            case 6:
                del new[at : at + length]
            case 7:
                new[at:at] = new[at : at + length] * rng.choice([1, 2, 50])
            case 8:
                other = rng.choice(others)
                start = rng.randrange(len(other) + 1)
                new[at : at + length] = other[start : start + length]
    return bytes(new)


def deep(value: object, levels: int) -> object:
    for i in range(levels):
        value = [value] if i % 2 else {"a": value}
    return value


def _places(node: object):
    """Every dictionary or list in a tree, with each of its keys."""
    for key in list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
        yield node, key
        yield from _places(node[key])


def changed(value: object, rng: random.Random, deepest: int = 400) -> object:
    """A tree of dictionaries and lists with a few things in it changed: a value, a key, a depth of up to `deepest`."""
    value = copy.deepcopy(value)
    odd = copy.deepcopy(ODD) + [copy.deepcopy(node[key]) for node, key in rng.choices(list(_places(value)), k=5)]
    for node, key in rng.choices(list(_places(value)), k=rng.choice([1, 1, 2, 5])):
        if key not in (node if isinstance(node, dict) else range(len(node))):
            continue  # it went with another
        match rng.randrange(8):
            case 0 | 1 | 2 | 3:
                node[key] = rng.choice(odd)
            case 4:
                node[key] = deep(node[key], rng.choice([1, 3, 200, deepest]))
            case 5:
                node.pop(key)
            case 6 if isinstance(node, dict):
                name = rng.choice(
                    [*map(str, ODD[:7]), "é\n", "\ud800", "a" * 10_000, str(key)[::-1], f"{key}s", 7, None]
                )
                node[name] = node.pop(key)
            case _:
                if isinstance(node[key], int | float):
                    node[key] = node[key] * rng.choice([-1, 0, 1e9, 10**9, 1e-9])
    return value


def damaged_text(text: str, rng: random.Random) -> str:
    """Text with a word, number or line of it replaced, doubled, moved or taken away."""
    for _ in range(rng.choice([1, 1, 2, 4])):
        found = list(re.finditer(rng.choice([r"[\d.e+-]+", r"\w+", r"[^\w\s]", r"\n *", r"(?m)^.*$"]), text))
        if not found:
            continue
        match, other = rng.choice(found), rng.choice(found)
        odd = rng.choice(
            [
                *map(str, ODD[:18]),
                "[" * 500,
                "{a: " * 200,
                "&a [*a]",
                "[" * 20_000,
                "!!python/name:os.system",
                "\t",
                "\0",
                ": ",
            ]
        )
        new = rng.choice([odd, odd, "", match[0] * 2, other[0]])
        text = text[: match.start()] + new + text[match.end() :]
    return text


# --- kinds of input: valid examples, how they are damaged, what reads them -------------------------------


def _records() -> np.ndarray:
    rng = np.random.default_rng(1)
    b = 40 + 8 * rng.standard_normal((FRAMES, 20))
    return np.column_stack([b, rng.uniform(0.04, 0.3, FRAMES), np.arange(FRAMES) % 3 > 0]).astype(np.float32)


def _settings(**changes: object) -> dict:
    return validate(NetworkSettings, {"lr": 1e-3, "epochs": 8, "batch": 4, "held_out": 0.2} | changes, "s").model_dump()


def _weights(**changes: object) -> bytes:
    chosen = _settings(**changes)
    torch.manual_seed(1)
    state = model.Network(chosen).state_dict()
    return safetensors.torch.save(state, {"settings": json.dumps(chosen, sort_keys=True)})


def _audio(samples: np.ndarray, rate: int, subtype: str, form: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype, format=form)
    return file.getvalue()


def damaged_safetensors(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Bytes as `damaged`, or a header that was changed as the object it is, of the length that it says."""
    if rng.random() < 0.4:
        return damaged(data, rng, others)
    size = int.from_bytes(data[:8], "little")
    header, tensors = json.loads(data[8 : 8 + size]), data[8 + size :]
    entries = header["__metadata__"]
    name = next(iter(entries))
    if rng.random() < 0.7:
        entries[name] = json.dumps(changed(json.loads(entries[name]), rng))
    else:
        header = changed(header, rng)
    text = json.dumps(header).encode()
    length = len(text) if rng.random() < 0.9 else rng.choice(WHOLE) % (1 << 64)
    return length.to_bytes(8, "little") + text + tensors


def use_f32(path: Path) -> None:
    records.read_f32(path, 22)
    feature_records = records.read_features(path)
    network, chosen = NETWORK
    assert np.isfinite(inference.infer(network, chosen, feature_records)).all()


def use_codebook(path: Path) -> None:
    vectors = records.read_f32(path, 4)
    trained = vq.train(vectors, 4, seed=1)
    indices = vq.search(vectors, [trained.codebook, vectors[:7]], 3)
    assert np.isfinite(trained.residual).all() and np.isfinite(vq.decode(indices, [trained.codebook, vectors])).all()


def use_model(path: Path) -> None:
    model = records.read_model(path)
    b, y = features.model_to_features(model, -80.0)
    assert np.isfinite(b).all() and np.isfinite(y).all()
    assert len(np.concatenate(list(synthesis.synthesise_in_chunks([model])))) == records.FRAME * len(model)


def use_speech(path: Path) -> None:
    samples = records.read_speech(path)
    assert samples.dtype == np.int16 and len(samples) >= records.FRAME


def use_weights(path: Path) -> None:
    network, chosen = inference.load(path)
    assert 0 <= rows.training_frames(chosen, FRAMES) <= FRAMES
    array = _records()
    if network.row.source == "y":
        array = np.repeat(array[:, :1], 79, axis=1)
    assert np.isfinite(inference.infer(network, chosen, array)).all()


def use_checkpoint(path: Path) -> None:
    identity, network, optimiser = _training()
    before = [tensor.clone() for tensor in network.state_dict().values()]
    curve, seconds = training.resume(path, identity, network, optimiser)
    if not curve:
        assert seconds == 0 and not optimiser.state
        assert all(torch.equal(a, b) for a, b in zip(before, network.state_dict().values(), strict=True))
        raise InputError("starting anew")
    assert curve == CURVE


CURVE = [(epoch, 1e-3, 1 / 3, 2 / 7, 0.1, 0.2) for epoch in range(1, 6)]


def _training() -> tuple:
    torch.manual_seed(2)
    network = model.Network(_settings(family="manifold", nn=3))
    return "0" * 64, network, torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)


def _checkpoint() -> bytes:
    identity, network, optimiser = _training()
    network(torch.ones(4, 22)).sum().backward()
    optimiser.step()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c"
        training.save_checkpoint(path, {"identity": identity, "curve": CURVE, "seconds": 1.5}, network, optimiser)
        return path.read_bytes()


def use_config(path: Path) -> None:
    try:
        text = path.read_text(encoding="utf-8")
        # The loader in C is ten times as fast, but at a depth of thousands its stack overflows.
        loader = yaml.CSafeLoader if text.count("[") + text.count("{") < 2000 else yaml.SafeLoader
        raw = yaml.load(text, loader)  # noqa: S506 (either is safe)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # which Snakemake reports
        raise InputError("not YAML") from error
    _load(raw)


def _load(raw: object) -> None:
    config.load(raw if isinstance(raw, dict) else {"config": raw})


def use_archive(path: Path) -> None:
    url = {"url": path.as_uri(), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    kept, manifest = path.with_name("kept.tar"), path.with_name("manifest.json")
    try:
        fetch.fetch_source({"name": "fuzz", "urls": [url]}, kept, manifest)
        name = disk.read_json(manifest)["files"][0]["path"]
        archives.member(kept, name.translate({ord(c): "?" for c in "[]*"}))
    finally:
        kept.unlink(missing_ok=True)
        manifest.unlink(missing_ok=True)


def _archives() -> dict[str, bytes]:
    members = {"a/one.raw": bytes(range(256)) * 4, "a/two.wav": _audio(np.ones(90) / 3, 8000, "PCM_16", "WAV")}
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for path, data in members.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    tar = file.getvalue()
    packed = {"a.tar": tar, "a.tar.gz": gzip.compress(tar, mtime=0), "a.tar.xz": lzma.compress(tar)}
    packed["a.tar.bz2"] = bz2.compress(tar)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bundle:
        for path, data in members.items():
            bundle.writestr(zipfile.ZipInfo(path), data, zipfile.ZIP_DEFLATED)
    packed["a.zip"] = file.getvalue()
    content = packed["a.tar.xz"]
    header = b"data.tar.xz     0           0     0     100644  %-10d`\n" % len(content)
    packed["a.deb"] = b"!<arch>\n" + header + content + bytes(len(content) % 2)
    return packed


def _speeches() -> dict[str, bytes]:
    rng = np.random.default_rng(2)
    tone = 0.3 * np.sin(np.arange(4000) / 5) + 0.01 * rng.standard_normal(4000)
    kinds = [("16.wav", 8000, "PCM_16", "WAV"), ("8.wav", 8000, "PCM_U8", "WAV"), ("24.wav", 16000, "PCM_24", "WAV")]
    kinds += [("float.wav", 44100, "FLOAT", "WAV"), ("double.wav", 8000, "DOUBLE", "WAV")]
    kinds += [("adpcm.wav", 8000, "IMA_ADPCM", "WAV"), ("ex.wav", 48000, "PCM_16", "WAVEX")]
    kinds += [
        ("w64.wav", 8000, "PCM_16", "W64"),
        ("rf64.wav", 8000, "PCM_16", "RF64"),
        ("a.aiff", 8000, "PCM_16", "AIFF"),
    ]
    kinds += [("a.flac", 16000, "PCM_16", "FLAC"), ("b.flac", 8000, "PCM_24", "FLAC"), ("a.caf", 8000, "PCM_16", "CAF")]
    kinds += [
        ("a.au", 8000, "ULAW", "AU"),
        ("a.ogg", 16000, "VORBIS", "OGG"),
        ("a.mp3", 16000, "MPEG_LAYER_III", "MP3"),
    ]
    audio = {name: _audio(tone, rate, subtype, form) for name, rate, subtype, form in kinds}
    audio["stereo.wav"] = _audio(np.stack([tone, -0.5 * tone], axis=1), 44100, "PCM_16", "WAV")
    return audio | {"a.raw": (1000 * tone).astype("<i2").tobytes()}


def _models() -> dict[str, bytes]:
    rng = np.random.default_rng(3)
    Wo = rng.uniform(0.04, 0.3, FRAMES).astype(np.float32)
    L = np.floor(np.pi / Wo).astype(np.int32)
    A = np.abs(rng.normal(0, 300, (FRAMES, 161))).astype(np.float32)
    phi = rng.uniform(-3, 3, (FRAMES, 161)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m"
        records.write_model(path, records.Model(Wo, L, A, phi, rng.integers(0, 2, FRAMES, np.int32)))
        return {"m.bin": path.read_bytes()}


NETWORKS = [
    {"family": "autoencoder1", "nn": 2, "d": 4, "ncat": 2, "zero_mean": True},
    {"family": "autoencoder4", "nn": 6, "d": 4, "symbols": True},
    {"family": "manifold", "nn": 3},
    {"family": "autoencoder2", "nn": 1, "d": 4},
    {"family": "autoencoder1", "nn": 3, "d": 4, "ncat": 4},
    {"family": "autoencoder1", "nn": 5, "d": 4, "nvq": 2},
    {"family": "autoencoder1", "nn": 7, "nvq": 2},
    {"family": "manifold", "nn": 4},
]


def _all_weights() -> dict[str, bytes]:
    return {f"{i}.safetensors": _weights(**changes) for i, changes in enumerate(NETWORKS)}


NETWORK: tuple = ()
KINDS = {
    "f32": (lambda: {"b.f32": _records().tobytes()}, use_f32),
    "codebook": (lambda: {"l.f32": _records()[:, :20].tobytes()}, use_codebook),
    "model": (_models, use_model),
    "speech": (_speeches, use_speech),
    "json": (lambda: {"s.json": json.dumps({"a": [1, 2.5, None, {"b": "c"}], "s": _settings(family="manifold", nn=1)})
                      .encode()}, disk.read_json),
    "weights": (_all_weights, use_weights),
    "checkpoint": (lambda: {"checkpoint.safetensors": _checkpoint()}, use_checkpoint),
    "config": (lambda: {"config.yaml": CONFIG}, use_config),
    "archive": (_archives, use_archive),
}  # fmt: skip


def inputs(kind: str, seed: int, count: int):
    """Damaged inputs of a kind, each from a draw of its own: a name and bytes, or for `config` at times an object."""
    examples = KINDS[kind][0]()
    names, valid = list(examples), list(examples.values())
    raw = yaml.load(CONFIG, yaml.CSafeLoader)
    for i in range(count):
        rng = random.Random(f"{seed} {kind} {i}")
        name = names[i % len(names)]
        if kind in ("weights", "checkpoint"):
            yield name, damaged_safetensors(examples[name], rng, valid)
        elif kind == "config" and rng.random() < 0.6:
            yield name, changed(raw, rng, 3000)
        elif kind in ("config", "json") and rng.random() < 0.8:
            yield name, damaged_text(examples[name].decode(), rng).encode(errors="surrogatepass")
        else:
            yield name, damaged(examples[name], rng, valid)


def outcome(use: Callable, *what: object) -> str:
    """Whether an input gave a "result" or was "refused" in one clear line a fault; raises for everything else."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            use(*what)
        except InputError as error:
            lines = str(error).split("\n")  # a configuration may have several faults
            assert all(line and line.isprintable() and len(line) <= 600 for line in lines) and len(lines) <= 21, lines
            return "refused"
    return "result"


def _try_all(kind: str, seed: int, count: int, folder: Path) -> None:
    """In a process of its own: write how many inputs gave what, and the first failures."""
    global NETWORK
    torch.set_num_threads(1)
    (folder / "at").write_text("valid examples")
    (folder / "net").write_bytes(_weights(family="autoencoder1", nn=2, d=4))
    NETWORK = inference.load(folder / "net")
    use = KINDS[kind][1]
    for name, data in KINDS[kind][0]().items():  # what is loaded at first use is not to be counted
        (folder / name).write_bytes(data)
        assert outcome(use, folder / name) == "result", name
    taken = int(re.search(r"VmSize:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
    os.dup2(os.open(folder / "err", os.O_WRONLY | os.O_CREAT), 2)
    found, failures = {"result": 0, "refused": 0}, []
    for i, (name, what) in enumerate(inputs(kind, seed, count)):
        (folder / "at").write_text(f"{i} {name}")
        signal.setitimer(signal.ITIMER_REAL, SECONDS)  # its signal ends the process, wherever that is
        try:
            if isinstance(what, bytes):
                (folder / name).write_bytes(what)
                found[outcome(use, folder / name)] += 1
            else:
                found[outcome(_load, what)] += 1
        except BaseException:
            failures.append(f"{kind} {i} {name} of seed {seed}: {traceback.format_exc(limit=-3)[-1000:]}")
        signal.setitimer(signal.ITIMER_REAL, 0)
        if len(failures) == 10:
            break
    if "Traceback" in (told := (folder / "err").read_text(errors="replace")):
        failures.append(f"{kind} of seed {seed}: {told[max(told.index('Traceback') - 200, 0) :][:3000]}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    disk.write_json(folder / "found", found | {"failures": failures, "peak_MB": peak // 1024})


def campaign(kind: str, seed: int, count: int, folder: Path) -> dict:
    """Try damaged inputs in a process of its own, with limits on memory and on the time of each."""
    process = multiprocessing.get_context("fork").Process(target=_try_all, args=(kind, seed, count, folder))
    process.start()
    process.join()
    if process.exitcode:
        what = (
            f"took more than {SECONDS} s" if process.exitcode == -signal.SIGALRM else f"ended with {process.exitcode}"
        )
        failure = f"{kind} {(folder / 'at').read_text()} of seed {seed} {what}"
        return {"result": 0, "refused": 0, "failures": [failure]}
    return disk.read_json(folder / "found")


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="measures memory by /proc")
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_input_gives_a_result_or_one_clear_line(kind, tmp_path):
    found = campaign(kind, SEED, COUNTS[kind], tmp_path)
    print(f"{kind}: {COUNTS[kind]} inputs of seed {SEED}: {found['result']} read, {found['refused']} refused")
    assert not found["failures"], "\n\n".join(found["failures"])
    assert found["result"] + found["refused"] == COUNTS[kind]
    assert found["refused"] > COUNTS[kind] / 4 and found["result"]


a_few = settings(derandomize=True, deadline=1000 * SECONDS, max_examples=120, database=None)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=9,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


STARTS = [b"", b"RIFF\xff\xff\xff\xffWAVEfmt ", b"fLaC\0\0\0\x22", b"FORM\0\0\1\0AIFFCOMM", b"OggS\0"]


@a_few
@given(start=st.sampled_from(STARTS), rest=st.binary(max_size=300))
def test_any_bytes_as_speech(folder, start, rest):
    (folder / "s.wav").write_bytes(start + rest)
    outcome(use_speech, folder / "s.wav")


@a_few
@given(key=st.sampled_from(list(NetworkSettings.model_fields)), value=anything, example=st.sampled_from(NETWORKS))
def test_anything_as_a_setting_in_weights(folder, key, value, example):
    changed = json.dumps(_settings(**example) | {key: value})
    (folder / "w.safetensors").write_bytes(
        safetensors.torch.save(safetensors.torch.load(_weights(**example)), {"settings": changed})
    )
    outcome(use_weights, folder / "w.safetensors")


@pytest.mark.slow
@a_few
@given(data=st.data(), value=anything)
def test_anything_anywhere_in_the_configuration(data, value):
    raw = yaml.load(CONFIG, yaml.CSafeLoader)
    node, key = data.draw(st.sampled_from(list(_places(raw))))
    node[key] = value
    outcome(_load, raw)


def test_a_search_that_no_memory_holds_is_refused():
    codebook = np.eye(1 << 12, 10, dtype=np.float32)
    for request in ({"mbest": 1 << 12}, {"mbest": 5, "threads": 10**9}):
        with pytest.raises(InputError, match="expected at most"):
            vq.search(codebook, [codebook, codebook], **request)


def test_at_least_2000_inputs_are_tried():
    assert sum(COUNTS.values()) >= 2000 and COUNTS.keys() == KINDS.keys()


if __name__ == "__main__":
    share = int(sys.argv[1]) / sum(COUNTS.values())
    for each in KINDS:
        with tempfile.TemporaryDirectory() as scratch:
            told = campaign(each, int(sys.argv[2]), round(COUNTS[each] * share), Path(scratch))
        print(each, *told.pop("failures"), told, sep="\n", flush=True)
