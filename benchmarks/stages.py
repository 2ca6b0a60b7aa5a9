"""What is measured: a function for each stage, from the default corpus to rows of the table.

Rows of one command on inputs of several sizes have the same name. A command that is measured on one core is pinned to
it; any other takes all cores. Times are those of whole commands as a user runs them, with the start of the process.
`work_s` is the time without it, for commands that report it.
"""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks import inputs
from benchmarks.measure import Program, blas_gflops, compare, grow, installed, ours, run, script, together
from mlquant.core.errors import InputError
from mlquant.networks.rows import ROWS

SHARES = (1 / 16, 1 / 4, 1)
D = 10  # latents of a vector
FEATURES, Y, MODEL = 4 * 22, 4 * 79, 1300  # bytes of a frame
SPEECH = "s of speech"
"""Unit of the rows whose throughput is given as a multiple of real time."""


@dataclass(frozen=True)
class Bench:
    """Files to measure with, a temporary folder and the options of the command line."""

    files: dict
    folder: Path
    options: Namespace

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def compare(self, stage: str, programs: list[Program], runs: int | None = None) -> list[dict]:
        return compare(stage, programs, self.folder, runs or self.options.runs, self.options.limit)

    def speech(self, share: float = 1) -> tuple[Path, float]:
        """Cut a share of the speech from the corpus; return its file and its seconds."""
        minutes = share * self.options.minutes
        path = inputs.cut_speech(self.files["speech"], minutes, self / f"{share:g}.raw")
        return path, inputs.frames(minutes) / 100

    def features(self, share: float = 1) -> tuple[Path, Path, int]:
        """Cut b and y of a share of the speech from the corpus; return their files and the number of frames."""
        count = inputs.frames(share * self.options.minutes)
        b = inputs.cut(self.files["b"], FEATURES, count, self / f"{share:g}_b.f32")
        return b, inputs.cut(self.files["y"], Y, count, self / f"{share:g}_y.f32"), count

    def model(self, share: float) -> tuple[Path, float]:
        """Return the model of a share of the speech, which is made if it does not exist, and its seconds."""
        speech, seconds = self.speech(share)
        model = self / f"{share:g}_model.bin"
        if not model.exists():
            self.make("analyse", speech, "-o", model)
        return model, seconds

    def latents(self, share: float = 1) -> tuple[Path, int]:
        count = max(self.options.entries, round(share * self.options.vectors))
        return inputs.cut([self.files["latents"]], 4 * D, count, self / f"{share:g}_l.f32"), count

    def make(self, *arguments: object) -> None:
        """Run a command of mlquant whose time does not count."""
        run(Program(str(arguments[0]), ours(*arguments), 1, "run"), self.folder)


def prepare(bench: Bench) -> list[dict]:
    """Choose and resample a part of the corpus."""
    corpus, out = bench.files["corpus"], bench / "corpus.raw"
    settings = json.dumps(corpus["settings"] | {"minutes": min(corpus["settings"]["minutes"], bench.options.minutes)})
    arguments = (corpus["speech"], "--settings", settings, "--manifest", bench / "corpus.csv", "-o", out)
    bench.make("prepare-corpus", *arguments)
    seconds = out.stat().st_size / 16000
    return bench.compare("prepare", [_one_core("mlquant prepare-corpus", ours("prepare-corpus", *arguments), seconds)])


def analyse(bench: Bench) -> list[dict]:
    """Sinusoidal analysis on one core, against c2sim."""
    rows, c2sim = [], installed("c2sim")
    for share in SHARES:
        speech, seconds = bench.speech(share)
        programs = [_one_core("mlquant analyse", ours("analyse", speech, "-o", bench / "m.bin"), seconds)]
        if c2sim:
            command = (c2sim, speech, "--hpf", "--modelout", bench / "c2sim.bin")
            programs.append(_one_core("c2sim --hpf --modelout", command, seconds, theirs=True))
        rows += bench.compare("analyse", programs)
    return grow(rows)


def _one_core(what: str, command: tuple, seconds: float, **more: object) -> Program:
    return Program(what, command, seconds, SPEECH, one_core=True, **more)


def features(bench: Bench) -> list[dict]:
    """b and y of a model on one core; against linear_batch.m under Octave, where its folder is given."""
    rows, octave = [], installed("octave-cli") if bench.options.octave else None
    for share in SHARES:
        model, seconds = bench.model(share)
        command = ours("features", model, "--b", bench / "b.f32", "--y", bench / "y.f32")
        programs = [_one_core("mlquant features", command, seconds)]
        if octave and share == SHARES[0]:
            name = str(model).removesuffix("_model.bin")
            calls = [f"linear_batch_ml_in('{name}', {more});" for more in ("'Nb',100,'Y_out','oy'", "'B_out','ob'")]
            path = ("--path", Path(bench.options.octave).resolve(), "--eval", f"linear_batch; {' '.join(calls)}")
            programs.append(_one_core("octave linear_batch_ml_in, twice", (octave, "-qf", *path), seconds, theirs=True))
        rows += bench.compare("features", programs)
    return grow(rows)


def both(bench: Bench) -> list[dict]:
    """Analysis, y and b of speech cut in two, both parts at once."""
    frames = inputs.frames(bench.options.minutes)
    data = bench.speech()[0].read_bytes()
    middle = frames // 2 * 2 * inputs.FRAME
    chains = []
    for i, part in enumerate((data[:middle], data[middle:])):
        (bench / f"half{i}.raw").write_bytes(part)
        names = [bench / f"half{i}{end}" for end in (".raw", ".bin", "_b.f32", "_y.f32")]
        second = ours("features", names[1], "--b", names[2], "--y", names[3])
        chains.append([ours("analyse", names[0], "-o", names[1]), second])
    note = "two files at once; peak is of one process"
    program = Program("mlquant analyse, features", together(*chains), frames / 100, SPEECH, note=note)
    return bench.compare("both", [program])


def train(bench: Bench) -> list[dict]:
    """Steps of training against plain PyTorch, and GFLOP/s against BLAS; seconds of the loop, without its start."""
    rows = []
    for name, original in (("nn4_cat1", "nn4_seed"), ("manifold", "manifold_seed")):
        settings, theirs = bench.files["settings"][name] | {"epochs": 2}, bench.files["settings"][original]
        # The same vectors for both.
        settings |= {key: theirs[key] for key in ("thresh", "voiced_only", "held_out")}
        for share in SHARES:
            b, y, _ = bench.features(share)
            y = [y] if name == "manifold" else []
            vectors = _vectors(settings, b)
            loop = _loop(bench, original, [b], y, 1, vectors)
            programs = [_training(bench, f"mlquant train: {name}", settings, [b], y, vectors)]
            rows += bench.compare("train", programs + ([loop] if share == SHARES[1] else []))
        shapes = _products(settings)
        blas, operations = blas_gflops(shapes, True, bench.folder), sum(2 * m * k * n for m, k, n in shapes)
        for mine in [row for row in rows if row["what"].endswith(f"train: {name}")]:
            steps = mine["throughput"] / settings["batch"]
            mine |= {"gflops": steps * operations / 1e9, "blas_gflops": blas, "note": f"{steps:.0f} steps/s"}
    return grow(rows)


def _products(settings: dict) -> list[tuple[int, int, int]]:
    """Return the matrix products [m, k] @ [k, n] of a step of training.

    Each layer has one forward, one for the gradient of its weights, and, but for the first, one for that of its input.
    """
    row, batch, special = ROWS[settings["family"], settings["nn"]], settings["batch"], {"b": 20, "d": settings["d"]}
    layers = [layer for part in (row.encoder, row.decoder) for layer in pairwise(special.get(w, w) for w in part)]
    forward = [(batch, k, n) for k, n in layers]
    weights = [(k, batch, n) for k, n in layers]
    return forward + weights + [(batch, n, k) for k, n in layers[1:]]


def _vectors(settings: dict, b: Path) -> int:
    """Return the number of vectors of one file that a network is trained on."""
    records = np.fromfile(b, "<f4").reshape(-1, 22)
    keep = np.ones(len(records), bool)
    if settings["thresh"] is not None:
        keep &= 10 * np.log10(np.sum(10 ** (records[:, :20].astype(float) / 10), axis=1)) > settings["thresh"]
    if settings["voiced_only"]:
        keep &= records[:, 21] > 0
    return int(keep[: len(records) - round(settings["held_out"] * len(records))].sum())


def _training(bench: Bench, what: str, settings: dict, b: list, y: list, vectors: int) -> Program:
    out = bench / "trained"
    target = ["--target", *y] if y else []
    command = ours("train", "--settings", json.dumps(settings), "--features", *b, *target, "-o", out)
    work = lambda: json.loads((out / "training.json").read_text())["seconds"]  # noqa: E731
    one = settings["threads"] == 1
    return Program(what, command, settings["epochs"] * vectors, "vectors", one_core=one, work=work)


def _loop(bench: Bench, original: str, b: list, y: list, epochs: int, vectors: int, one_core: bool = True) -> Program:
    settings = bench.files["settings"][original]
    what = f"PyTorch, DataLoader: {original}"
    out = bench / "loop.json"
    request = {"settings": settings, "features": [*map(str, b)], "target": [*map(str, y)], "epochs": epochs}
    command = script("original_loop", request | {"out": str(out)})
    work = lambda: json.loads(out.read_text())["seconds"]  # noqa: E731
    return Program(what, command, epochs * vectors, "vectors", theirs=True, one_core=one_core, work=work)


def networks(bench: Bench) -> list[dict]:
    """Encoder, decoder and b to y_hat, on one core as they always run."""
    rows = []
    for share in SHARES:
        b, _, count = bench.features(share)
        latents, weights = bench / "encoded.f32", bench.files["weights"]
        commands = {
            "mlquant encode": ours("encode", weights["nn4_cat1"], b, "-o", latents),
            "mlquant decode": ours("decode", weights["nn4_cat1"], latents, "--features", b, "-o", bench / "b_hat.f32"),
            "mlquant infer": ours("infer", weights["manifold"], b, "-o", bench / "y_hat.f32"),
        }
        rows += bench.compare("networks", [_one_core(*each, count / 100) for each in commands.items()])
    return grow(rows)


def vq_train(bench: Bench) -> list[dict]:
    """Two stages of a quantiser, against vqtrain, with the variances that both reach; GFLOP/s against BLAS."""
    rows, vqtrain, m = [], installed("vqtrain"), bench.options.entries
    for share in SHARES:
        latents, count = bench.latents(share)
        rows += bench.compare("vq-train", [_codebook(bench, "mlquant vq-train, one stage", latents, count)])
    grow(rows)
    programs = []
    for what, one_core in (("mlquant vq-train, two stages", False), ("the same on one core", True)):
        stages = [_codebook(bench, what, latents, count), _codebook(bench, what, bench / "mine1.f32", count, 2)]
        programs.append(Program(what, together([p.command for p in stages]), count, "vectors", one_core=one_core))
    if vqtrain:
        stages = [
            (vqtrain, train, D, m, bench / f"vq{i}.f32", "--split", "-s", "0.0001", "-r", bench / f"theirs{i}.f32")
            for i, train in enumerate((latents, bench / "theirs1.f32"), 1)
        ]
        command = together([tuple(map(str, stage)) for stage in stages])
        programs.append(Program("vqtrain, two stages", command, count, "vectors", theirs=True))
    pair = bench.compare("vq-train", programs)
    operations = sum(_operations(bench / f"mine{i}.csv", count) for i in (1, 2))
    for row in pair:
        name = "theirs" if row["what"].startswith("vqtrain") else "mine"
        variances = [np.square(np.fromfile(bench / f"{name}{i}.f32", "<f4"), dtype=float).mean() for i in (1, 2)]
        row["note"] = f"variance {variances[0]:.6f}, {variances[1]:.6f}"
        row["variances"] = variances
        if name == "mine":
            blas = blas_gflops([(256, D, m)], row["cores"] == 1, bench.folder)
            row |= {"gflops": operations / row["wall_s"] / 1e9, "blas_gflops": blas}
    return rows + pair


def _codebook(bench: Bench, what: str, latents: Path, count: int, stage: int = 1) -> Program:
    names = [bench / f"mine{stage}{end}" for end in (".vq", ".f32", ".csv")]
    options = ("-k", D, "-m", bench.options.entries, "--stop", 1e-4, "-o", names[0], "--residual", names[1])
    return Program(what, ours("vq-train", latents, *options, "--trace", names[2]), count, "vectors")


def _operations(trace: Path, count: int) -> int:
    """Return the operations of all nearest-neighbour searches in a training, counted as matrix products."""
    rows = [line.split(",") for line in trace.read_text().splitlines()[1:]]
    return sum(2 * count * D * int(entries) * int(iterations) for entries, _, iterations in rows)


def vq_search(bench: Bench) -> list[dict]:
    """24 bits with five survivors, against vq_mbest, and whether the output is the same; 12 bits against BLAS."""
    rows, vq_mbest, books = [], installed("vq_mbest"), ",".join(bench.files["codebooks"])
    mine, theirs = bench / "mine_hat.f32", bench / "theirs_hat.f32"
    for share in SHARES:
        latents, count = bench.latents(share)
        command = ours("vq-search", latents, "-k", D, "-q", books, "--mbest", 5, "-o", mine)
        programs = [Program("mlquant vq-search, 24 bits, mbest 5", command, count, "vectors")]
        if share == SHARES[-1]:
            programs.append(Program("the same on one core", command, count, "vectors", one_core=True))
        if vq_mbest:
            options = ("-k", str(D), "-q", books, "--mbest", "5")
            files = {"stdin": str(latents), "stdout": str(theirs)}
            programs.append(Program("vq_mbest", (vq_mbest, *options), count, "vectors", theirs=True, **files))
        found = bench.compare("vq-search", programs)
        if vq_mbest:
            a, b = (np.fromfile(path, "<f4").reshape(-1, D) for path in (mine, theirs))
            same = int((a == b).all(axis=1).sum()) if len(a) == len(b) else 0
            found[0] |= {"same_output": mine.read_bytes() == theirs.read_bytes()}
            found[0]["note"] = "output the same" if found[0]["same_output"] else f"{same} of {count} vectors the same"
        rows += found
    book = bench.files["codebooks"][0]
    entries = Path(book).stat().st_size // (4 * D)
    one = inputs.cut([str(latents)], 4 * D, 1, bench / "one.f32")
    nearest = [
        Program(
            "mlquant vq-search, 12 bits", ours("vq-search", path, "-k", D, "-q", book, "-o", mine), amount, "vectors"
        )
        for path, amount in ((latents, count), (one, 1))
    ]
    found = bench.compare("vq-search", nearest)
    work = found[0]["wall_s"] - found[1]["wall_s"]
    if work > 0:
        found[0]["gflops"] = 2 * (count - 1) * D * entries / work / 1e9
        found[0]["blas_gflops"] = blas_gflops([(256, D, entries)], False, bench.folder)
        found[0]["note"] = "GFLOP/s without the time of one vector"
    return grow(rows) + found


def synth(bench: Bench) -> list[dict]:
    """Speech from y_hat on one core: samples in a process that has started, and growing speech against c2sim."""
    commands, frames, seconds_file = [], 0, bench / "warm.json"
    for name, (model, y_hat) in bench.files["samples"].items():
        commands.append(["synth", model, y_hat, "-o", str(bench / f"{name}.wav")])
        frames += Path(y_hat).stat().st_size // Y
    what = f"mlquant synth, {len(commands)} samples"
    warm = script("warm", {"commands": commands})
    work = lambda: float(seconds_file.read_text())  # noqa: E731
    note = "throughput within a process, after one sample"
    rows = bench.compare("synth", [_one_core(what, warm, frames / 100, work=work, stdout=str(seconds_file), note=note)])
    c2sim = installed("c2sim")
    for share in SHARES:
        model, seconds = bench.model(share)
        # The true y of this model takes the place of y_hat. Those of the corpus are of parts analysed one by one.
        y, a, h = (bench / f"{share:g}_{name}.f32" for name in ("own_y", "a", "h"))
        bench.make("features", model, "--y", y)
        programs = [_one_core("mlquant synth", ours("synth", model, y, "-o", bench / "synth.raw"), seconds)]
        if c2sim:
            bench.make("synth", model, y, "-o", bench / "synth.raw", "--a", a, "--h", h)
            options = ("--hpf", "--phase0", "--postfilter", "--amread", a, "--hmread", h, "-o", bench / "c2sim.raw")
            command = (c2sim, bench.speech(share)[0], *options)
            note = "analyses again; amplitudes and phases are given"
            programs.append(_one_core("c2sim --phase0 --postfilter", command, seconds, theirs=True, note=note))
        rows += bench.compare("synth", programs)
    return grow(rows)


def anchor(bench: Bench) -> list[dict]:
    """Codec 2 at 3200 bit/s, and speech from a model's own phases."""
    rows = []
    for share in SHARES:
        (speech, seconds), model = bench.speech(share), bench.model(share)[0]
        commands = {
            "mlquant anchor, 3200 bit/s": ours("anchor", speech, "-o", bench / "anchor.raw"),
            "mlquant resynth": ours("resynth", model, "-o", bench / "resynth.raw"),
        }
        rows += bench.compare("anchor", [_one_core(*each, seconds) for each in commands.items()])
    return grow(rows)


def page(bench: Bench) -> list[dict]:
    """Measures of one sample's outputs, and the page of the experiment."""
    record, tables = bench.files["measure"], bench.files["tables"]
    if not record or not tables:
        raise InputError(f"results of {inputs.EXPERIMENT} are not those of the present code; run `make` first")
    programs = []
    for what, command, unit in (
        ("mlquant measure", ("measure", record, "-o", bench / "measured.json"), "sample"),
        ("mlquant page", ("page", tables, "-o", bench / f"{inputs.EXPERIMENT}_wav"), "page"),
    ):
        programs.append(Program(what, ours(*command), 1, unit))
    return bench.compare("page", programs)


def training(bench: Bench) -> list[dict]:
    """Seconds to the held-out SD that the original's loop ends at, on the same vectors; ours runs before and after."""
    rows, share = [], bench.options.epochs_share
    for name, original in (("nn4_cat1", "nn4_seed"), ("manifold", "manifold_seed")):
        theirs = bench.files["settings"][original]
        b, y = (bench.files[kind] for kind in ("b", "y"))
        y = y if name == "manifold" else []
        vectors = sum(_vectors(theirs, path) for path in b)
        epochs = max(1, round(share * theirs["epochs"]))
        # Small batches may go faster on one core than on all.
        trials = [
            _loop(bench, original, b[:1], y[:1], 1, _vectors(theirs, b[0]), one_core) for one_core in (True, False)
        ]
        faster = min(trials, key=lambda trial: run(trial, bench.folder)["work_s"])
        loop = _loop(bench, original, b, y, epochs, vectors, faster.one_core)
        entry = bench.files["settings"][name]
        entry = entry | {key: theirs[key] for key in ("thresh", "voiced_only", "held_out")}
        entry["epochs"] = max(2, round(share * entry["epochs"]))
        mine = {f"mlquant train: {name}": entry}
        if entry["noise_var"] != theirs["noise_var"]:
            mine[f"mlquant train: {name}, noise as {original}"] = entry | {"noise_var": theirs["noise_var"]}
        before = _curves(bench, mine, b, y, vectors)
        rows.append(loop_row := bench.compare("training", [loop], runs=1)[0])
        curve = json.loads((bench / "loop.json").read_text())["curve"]
        goal, seconds = curve[-1]["held_out_sd_dB2"], curve[-1]["seconds"]
        loop_row |= {"curve": [row["held_out_sd_dB2"] for row in curve]}
        loop_row["note"] = f"held-out SD {goal:.3f} dB^2 after {epochs} epochs"
        if epochs < theirs["epochs"]:
            loop_row["extrapolated_s"] = seconds * theirs["epochs"] / epochs
            loop_row["note"] += f"; extrapolated: {loop_row['extrapolated_s']:.0f} s for all {theirs['epochs']}"
        for row, again in zip(before, _curves(bench, mine, b, y, vectors), strict=True):
            row |= {name: (row[name] + again[name]) / 2 for name in ("wall_s", "cpu_s", "work_s", "throughput")}
            row |= {"min_s": min(row["min_s"], again["min_s"]), "max_s": max(row["max_s"], again["max_s"]), "runs": 2}
            reached = next((epoch for epoch, sd in enumerate(row["curve"], 1) if sd <= goal), None)
            row["note"] = f"ends at {row['curve'][-1]:.3f} after {len(row['curve'])} epochs, {goal:.3f} not reached"
            if reached:
                taken = reached * row["work_s"] / len(row["curve"])
                row |= {"ratio": taken / seconds, "against": loop.what, "reached_s": taken, "reached_epoch": reached}
                row["note"] = row["note"].replace("not reached", f"reached in {taken:.1f} s, epoch {reached}")
            rows.append(row)
    return rows


def _curves(bench: Bench, settings: dict[str, dict], b: list, y: list, vectors: int) -> list[dict]:
    """Return a row for each training, with its curve: the held-out SD after each epoch."""
    rows = []
    for what, entry in settings.items():
        rows += bench.compare("training", [_training(bench, what, entry, b, y, vectors)], runs=1)
        header, *table = [line.split(",") for line in (bench / "trained" / "losses.csv").read_text().splitlines()]
        rows[-1]["curve"] = [float(line[header.index("held_out_sd_dB2")]) for line in table]
    return rows


def long(bench: Bench) -> list[dict]:
    """Hours of speech against the minutes of the other stages, and a codebook of all their latents; one run each."""
    rows, hours = [], bench.options.hours
    speech, count = {}, {}
    for name, amount in (("short", bench.options.minutes / 60), ("long", hours)):
        speech[name] = inputs.repeat_speech(bench.files["speech"], amount, bench / f"{name}.raw")
        count[name] = speech[name].stat().st_size // (2 * inputs.FRAME)
        model, b, y, latents = (bench / f"{name}_{end}" for end in ("m.bin", "b.f32", "y.f32", "l.f32"))
        for what, command in (
            ("mlquant analyse", ("analyse", speech[name], "-o", model)),
            ("mlquant features", ("features", model, "--b", b, "--y", y)),
            ("mlquant encode", ("encode", bench.files["weights"]["nn4_cat1"], b, "-o", latents)),
        ):
            rows += bench.compare("long", [Program(what, ours(*command), count[name] / 100, SPEECH)], runs=1)
        model.unlink()
        y.unlink()
        rows += bench.compare("long", [_codebook(bench, "mlquant vq-train, one stage", latents, count[name])], runs=1)
        operations = _operations(bench / "mine1.csv", count[name])
        rows[-1] |= {"gflops": operations / rows[-1]["wall_s"] / 1e9, "note": f"{operations / 1e12:.2f} Tflop in all"}
    return grow(rows)


STAGES = {
    **{"prepare": prepare, "analyse": analyse, "features": features, "both": both, "train": train},
    **{"networks": networks, "vq-train": vq_train, "vq-search": vq_search, "synth": synth, "anchor": anchor},
    **{"page": page, "training": training, "long": long},
}
CHOSEN = ("training", "long")
"""Stages that take half an hour or more, so that they are measured only if they are named."""
