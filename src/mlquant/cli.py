"""One subcommand a stage: thin functions from files to files.

Each function imports only what its stage needs, for two reasons: a command starts fast, and the imports say
which modules a stage's result depends on (see `keys`).
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mlquant.core.errors import InputError, log, progress

if TYPE_CHECKING:
    import numpy as np


def fetch(args: argparse.Namespace) -> None:
    """Obtain a source of speech from Debian's package archive or a url."""
    from mlquant.core import blocks
    from mlquant.speech import fetch, settings

    source = blocks.validate(settings.Source, _json(args.source), "source").model_dump()
    fetch.fetch_source(source, args.out, args.manifest, args.optional, args.apt)


def prepare_sample(args: argparse.Namespace) -> None:
    """Write one sample as 16-bit 8 kHz speech."""
    from mlquant.speech import corpus

    corpus.prepare_sample(args.speech, args.out, args.member, args.sha256)


def prepare_corpus(args: argparse.Namespace) -> None:
    """Choose training speech by its settings and write it as 16-bit 8 kHz speech."""
    from mlquant.core import blocks
    from mlquant.speech import corpus, settings

    settings_ = blocks.validate(settings.SeededChoice, _json(args.settings), "settings").model_dump()
    own = (
        settings.audio_files(settings_["files"])[settings_["shard"] :: settings_["shards"]]
        if settings_["files"]
        else ()
    )
    chosen = [Path(name) for name in own] or args.speech
    corpus.prepare_corpus_part(chosen, settings_, args.out, args.manifest)


def analyse(args: argparse.Namespace) -> None:
    """Sinusoidal analysis of speech."""
    from mlquant.core import records
    from mlquant.vocoder import analysis

    records.write_model(args.out, analysis.analyse_in_chunks(records.read_speech(args.speech)))


def features(args: argparse.Namespace) -> None:
    """Feature vectors b and y of a model."""
    import contextlib

    from mlquant.core import records
    from mlquant.vocoder import features

    if not (args.b or args.y):
        raise InputError("found neither --b nor --y, expected at least one of them")
    if not -200 <= args.floor <= 100:
        raise InputError(f"floor: found {args.floor:g} dB, expected -200 to 100 dB")
    with contextlib.ExitStack() as opened:
        write_b, write_y = (opened.enter_context(records.open_f32(path)) if path else None for path in (args.b, args.y))
        for model in _chunks(args.model):
            b, y = features.model_to_features(model, args.floor)
            if write_b:
                write_b(features.features_to_records(b, model.Wo, model.voiced))
            if write_y:
                write_y(y)


def resynth(args: argparse.Namespace) -> None:
    """Speech from a model's own amplitudes and phases."""
    import numpy as np

    from mlquant.core import records
    from mlquant.vocoder import synthesis

    records.write_speech(args.out, np.concatenate(list(synthesis.synthesise_in_chunks(_chunks(args.model)))))


def train(args: argparse.Namespace) -> None:
    """Train a network."""
    _train(args)


def train_on(args: argparse.Namespace) -> None:
    """Train a network on from its weights: with other inputs, quantised latents, or a quantiser in its loop."""
    from mlquant.networks import dense, rows, training
    from mlquant.quantisers import vq

    def start(settings: dict, features: list[np.ndarray], held_out: list[np.ndarray]) -> dict:
        found = {"start": dense.load(args.start, training.state_of)}
        if args.loop:
            width = rows.latent_width(settings) or 1
            found |= {"codebooks": _codebooks("--loop", args.loop, width), "refined": vq.refined}
        if args.latents or args.held_out_latents:
            latents = _read_latents("--latents", args.latents, args.features, features, settings)
            others = _read_latents("--held-out-latents", args.held_out_latents, args.held_out, held_out, settings)
            found["latents"] = latents, others
        return found

    _train(args, start)


def _train(args: argparse.Namespace, start: Callable[..., dict] = lambda *read: {}) -> None:
    from mlquant.core import blocks, provenance
    from mlquant.networks import training
    from mlquant.networks.settings import NetworkSettings

    started, record = provenance.now(), _json(args.record)
    settings = blocks.validate(NetworkSettings, _json(args.settings), "settings").model_dump()
    several = ("features", "target", "held_out", "held_out_target", "latents", "held_out_latents")
    read = [path for name in several for path in getattr(args, name, None) or ()]
    if args.command == "train-on":
        read += [args.start, *filter(None, args.loop.split(","))]
    checksums = provenance.checksums(read, args.root)
    try:
        held_out = _read_pairs(args.held_out or [], args.held_out_target)
        pairs = _read_pairs(args.features, args.target)
        training.train(settings, *pairs, args.out, held_out, **start(settings, pairs[0], held_out[0]))
    except InputError as error:
        if not args.keep_failure:
            raise
        log(f"mlquant {args.command}: {error}")
        training.write_failure(settings, str(error), args.out)
    provenance.sidecar(args.out, record, settings, checksums, started)


def _read_pairs(features: list[str], targets: list[str] | None) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
    """Records of features, and the y that go with them where there are any."""
    from mlquant.core import records

    feature_records = [records.read_features(path) for path in features]
    y = [records.read_f32(path, 79) for path in targets] if targets else None
    for path, found, b in zip(targets or (), y or (), feature_records, strict=False):
        if len(found) != len(b):
            raise InputError(f"{path}: {len(found)} frames, expected {len(b)} as of the features")
    return feature_records, y


def _read_latents(
    option: str, paths: list[str] | None, named: list[str] | None, features: list[np.ndarray], settings: dict
) -> list[np.ndarray]:
    """Quantised latents of the files `named`, whose features are given: one vector for each sequence of frames."""
    from mlquant.core import records
    from mlquant.networks import rows

    if len(paths or ()) != len(features):
        raise InputError(f"{option}: {len(paths or ())} files, expected {len(features)}, one for each of the features")
    width = rows.latent_width(settings)
    if width is None:
        raise InputError(f"{option}: {settings['family']} nn {settings['nn']} has no bottleneck, expected no latents")
    latents = [records.read_f32(path, width) for path in paths or ()]
    for path, name, found, b in zip(paths or (), named or (), latents, features, strict=True):
        if len(found) != (expected := -(-len(b) // settings["ncat"])):
            raise InputError(f"{path}: {len(found)} vectors, expected {expected} as of {name}")
    return latents


def encode(args: argparse.Namespace) -> None:
    """Latents of features."""
    from mlquant.networks import inference, rows
    from mlquant.quantisers import vectors

    network, settings = inference.load(args.weights)
    chosen = []
    for features in (_read_spectra(path, settings) for path in args.features):
        if args.training_share:
            features = features[: rows.training_frames(settings, len(features))]
        latents = inference.encode(network, settings, features)
        loud = vectors.loud(features, args.thresh, settings["ncat"])
        chosen.append(vectors.to_train_on(latents, loud, args.pairs))
    _write_vectors(args, chosen)


def shapes(args: argparse.Namespace) -> None:
    """Shapes of b, that is b without its mean: what is quantised where no network is in between."""
    from mlquant.core import records
    from mlquant.networks import rows
    from mlquant.quantisers import vectors

    if not 0 <= args.held_out < 1:
        raise InputError(f"held-out: found {args.held_out:g}, expected a share, 0 or more and less than 1")
    chosen = []
    for features in map(records.read_features, args.features):
        features = features[: rows.training_frames({"held_out": args.held_out}, len(features))]
        chosen.append(vectors.to_train_on(vectors.shapes(features), vectors.loud(features, args.thresh), args.pairs))
    _write_vectors(args, chosen)


def _write_vectors(args: argparse.Namespace, vectors: list[np.ndarray]) -> None:
    import numpy as np

    from mlquant.core import records

    if not sum(map(len, vectors)):
        limits = f"thresh {args.thresh} dB, pairs {args.pairs}"
        raise InputError(f"{', '.join(args.features)}: no frame is left with {limits}, expected at least one")
    records.write_f32(args.out, np.concatenate(vectors))


def from_shapes(args: argparse.Namespace) -> None:
    """Features of shapes: b_hat with the mean of b."""
    from mlquant.core import records
    from mlquant.quantisers import vectors

    features = records.read_features(args.features)
    records.write_f32(args.out, vectors.from_shapes(records.read_f32(args.shapes, 20), features))


def decode(args: argparse.Namespace) -> None:
    """Features of latents."""
    from mlquant.core import records
    from mlquant.networks import inference, rows

    network, settings = inference.load(args.weights)
    latents = records.read_f32(args.latents, rows.latent_width(settings) or 1)
    features = _read_spectra(args.features, settings)
    y = _energy_from(args.energy_from, features)
    records.write_f32(args.out, inference.decode(network, settings, latents, features, y))


def infer(args: argparse.Namespace) -> None:
    """Features straight through a network."""
    from mlquant.core import records
    from mlquant.networks import inference

    network, settings = inference.load(args.weights)
    features = _read_spectra(args.features, settings)
    y = _energy_from(args.energy_from, features)
    records.write_f32(args.out, inference.infer(network, settings, features, y, args.noise_var, args.seed))


def _read_spectra(path: str, settings: dict) -> np.ndarray:
    """Features that a network takes: records [F, 22] or y [F, 79]."""
    from mlquant.core import records
    from mlquant.networks import rows

    return records.read_f32(path, 79) if rows.row_of(settings).source == "y" else records.read_features(path)


def _energy_from(path: str | None, features: np.ndarray) -> np.ndarray | None:
    """The y whose energy the output gets, of as many frames as the features."""
    from mlquant.core import records

    if path is None:
        return None
    y = records.read_f32(path, 79)
    if len(y) != len(features):
        raise InputError(f"{path}: {len(y)} frames, expected {len(features)} as of the features")
    return y


def vq_train(args: argparse.Namespace) -> None:
    """Train one codebook (LBG), or the next after others (beam)."""
    import numpy as np

    from mlquant.core import disk, provenance, records
    from mlquant.quantisers import vq

    started, record = provenance.now(), args.record and _json(args.record)
    if args.seed < 0:
        raise InputError(f"seed: found {args.seed}, expected 0 or more")
    a = _coefficient(args.predict)
    if a is None:
        vectors = records.read_f32(args.train, args.k)
    else:
        before, vectors = np.split(records.read_f32(args.train, 2 * args.k), 2, axis=1)
        vectors = vq.unpredicted(vectors, before, a)
    options = {
        "seed": args.seed,
        "stop": args.stop,
        "threads": args.threads,
        "report": lambda entries, variance, iterations: progress(
            f"{entries} entries: variance {variance:.6f} after {iterations} iterations", done=entries == args.m
        ),
    }
    if args.after:
        if args.st or args.en is not None or not args.split:
            raise InputError("--after: found with --st, --en or --no-split, expected without")
        before = _codebooks("--after", args.after, args.k)
        result = vq.train_beam(vectors, before, args.m, mbest=args.mbest, **options)
    else:
        result = vq.train(vectors, args.m, st=args.st, en=args.en, split=args.split, **options)
    deviation = np.sqrt(np.square(result.residual[:, args.st : None if args.en is None else args.en + 1]).mean(axis=1))
    log(
        f"standard deviation {np.sqrt(result.trace[-1][1]):.6f}, outliers > 1/2/3: "
        f"{'/'.join(f'{np.mean(deviation > limit):.3f}' for limit in (1, 2, 3))}, "
        f"entries used {result.counts.min()} to {result.counts.max()} times"
    )
    if args.trace:
        rows = [f"{entries},{variance:.9g},{iterations}" for entries, variance, iterations in result.trace]
        disk.write_text(args.trace, "\n".join(["entries,variance,iterations", *rows]) + "\n")
    if args.residual:
        records.write_f32(args.residual, result.residual)
    records.write_f32(args.out, result.codebook)
    if record:
        names = ("mbest",) if args.after else ("st", "en", "split")
        settings = {name: getattr(args, name) for name in ("k", "m", "stop", "seed", *names)}
        settings |= {} if a is None else {"predict": a}
        used = [args.train, *filter(None, args.after.split(","))]
        used += [args.predict] if a is not None and Path(args.predict).is_file() else []
        inputs = provenance.checksums(used, args.root)
        provenance.sidecar(args.out.parent, record, settings, inputs, started)


def _codebooks(option: str, paths: str, k: int) -> list[np.ndarray]:
    """The codebooks [M, k] whose paths an option takes, with commas between them."""
    from mlquant.core import records

    if not all(paths.split(",")):
        raise InputError(f"{option}: found {paths!r}, expected names of codebooks with commas between them")
    return [records.read_f32(path, k) for path in paths.split(",")]


def vq_predictor(args: argparse.Namespace) -> None:
    """The least squares coefficient by which vectors are predicted from those before."""
    import numpy as np

    from mlquant.core import records
    from mlquant.quantisers import vq

    before, vectors = np.split(records.read_f32(args.pairs, 2 * args.k), 2, axis=1)
    a = vq.predictor(vectors, before)
    log(f"prediction coefficient {a:.6f}")
    records.write_f32(args.out, np.array([[a]]))


def _coefficient(text: str | None) -> float | None:
    """A prediction coefficient given as a number, or in a file written by vq-predictor."""
    from mlquant.core import records

    if text is None:
        return None
    if not text:
        raise InputError("predict: found nothing, expected a number or a file")
    try:
        return float(text)
    except ValueError:
        found = records.read_f32(text, 1)
    if len(found) != 1:
        raise InputError(f"{text}: {len(found)} numbers, expected 1, a prediction coefficient")
    return float(found[0, 0])


def vq_search(args: argparse.Namespace) -> None:
    """Quantise vectors with one codebook or a chain of them (M-best)."""
    import io

    import numpy as np

    from mlquant.core import disk, records
    from mlquant.quantisers import vq

    if args.every < 1:
        raise InputError(f"every: found {args.every}, expected at least 1")
    vectors = records.read_f32(args.latents, args.k)
    codebooks, a = _codebooks("-q", args.codebooks, args.k), _coefficient(args.predict)
    if a is None and args.stretch is not None:
        raise InputError("--predict: none, expected with --stretch")
    if a is not None and (args.st or args.en is not None):
        raise InputError("--predict: found with --st or --en, expected without")
    options = {"every": args.every, "a": a, "stretch": args.stretch, "st": args.st, "en": args.en}
    indices, quantised = vq.quantise(vectors, codebooks, args.mbest, threads=args.threads, **options)
    error = vq.mean_squared_error(vectors[:: args.every], quantised, st=args.st, en=args.en)
    log(f"mean squared error {error:.6g}")
    if args.usage:
        for stage, counts in enumerate(vq.usage(indices, [len(codebook) for codebook in codebooks]), 1):
            log(f"stage {stage}: {np.count_nonzero(counts)} of {len(counts)} entries used, most {counts.max()}")
    if args.indices:
        buffer = io.BytesIO()
        np.save(buffer, indices, allow_pickle=False)
        disk.write_bytes(args.indices, buffer.getvalue())
    records.write_f32(args.out, vq.interpolated(quantised, args.every, len(vectors)))


def synth(args: argparse.Namespace) -> None:
    """Speech from amplitudes y_hat, with minimum phase, phase0 and postfilter."""
    import contextlib

    import numpy as np

    from mlquant.core import records
    from mlquant.vocoder import decoder, features

    y_hat = records.read_f32(args.y_hat, 79)
    decoder.check(y_hat, sum(map(len, _chunks(args.model))), args.y_hat, args.model)
    with contextlib.ExitStack() as opened:
        write_a, write_h = (opened.enter_context(records.open_f32(path)) if path else None for path in (args.a, args.h))

        def keep(A: np.ndarray, H: np.ndarray) -> None:
            if write_a:
                write_a(features.amplitudes_to_records(A))
            if write_h:
                write_h(features.phase_filter_to_records(H))

        speech = decoder.decode_in_chunks(_chunks(args.model), y_hat, args.expand, keep)
        records.write_speech(args.out, np.concatenate(list(speech)))


def _chunks(path: str) -> Iterator:
    """The model of a file, chunk by chunk: memory does not grow with the length of the speech."""
    from mlquant.core import records

    return records.read_model_in_chunks(path)


def anchor(args: argparse.Namespace) -> None:
    """Speech coded and decoded by Codec 2, after the analysis' high pass."""
    from mlquant.core import records
    from mlquant.vocoder import codec2

    modes = args.mode or ["3200"]
    if len(modes) != len(args.out):
        raise InputError(f"-o: {len(args.out)} files, expected {len(modes)}, one for each mode")
    for path, speech in zip(args.out, codec2.codec2(records.read_speech(args.speech), modes), strict=True):
        records.write_speech(path, speech)


def measure(args: argparse.Namespace) -> None:
    """Measures of one sample's outputs."""
    from mlquant.core import disk, provenance
    from mlquant.measures import measures

    record = _json(args.record)
    disk.require(record, "record", "sample", "sex", "references", "rows", "stages", "pesq")
    _go_to_root(args)
    measured, frames = measures.measure_sample(record)
    who = {"sample": record["sample"], "sex": record["sex"]}
    used = {*record["references"].values(), *(path for row in record["rows"] for path in row["files"].values())}
    result = {"measures": [row | who for row in measured], "frames": frames, "files": provenance.checksums(used)}
    disk.write_json(args.out, record | result)


def plot_losses(args: argparse.Namespace) -> None:
    """Plot a network's loss curve."""
    from mlquant.core import figures

    figures.plot_losses(args.losses, args.title, args.out)


def tabulate(args: argparse.Namespace) -> None:
    """Tables of an experiment: measures, means, a legend, and what made it."""
    from mlquant.core import provenance
    from mlquant.experiments import tables

    sources = provenance.checksums(args.origins, args.root)
    manifests = [path for path in args.origins if path.name == "manifest.csv"]  # of the corpora
    tables.tabulate(_json(args.experiment), args.measured, args.sidecars, sources, args.out, manifests)


def page(args: argparse.Namespace) -> None:
    """Make the folder of an experiment: its wavs, tables, and a page to listen to."""
    from mlquant.experiments import page

    _go_to_root(args)
    page.write(args.tables, args.history, args.out, args.figures)


def compare(args: argparse.Namespace) -> None:
    """Tell what differs between two experiments, or variants of one, and make a page with both."""
    from mlquant.core import disk
    from mlquant.experiments import compare, page

    _go_to_root(args)
    names = [folder.resolve().name.removesuffix("_wav") for folder in (args.a, args.b)]
    with disk.new_folder(args.out or Path("results/compare") / "_vs_".join(names)) as folder:
        text = compare.summarise(args.a, args.b, folder)
        named = list(zip(names if names[0] != names[1] else "AB", (args.a, args.b), strict=True))
        tables = {"What differs": folder / "differences.csv", "Measures, B less A": folder / "measures.csv"}
        disk.write_text(folder / "index.html", page.render(named, extra=tables))
    print(text)


def sweep(args: argparse.Namespace) -> None:
    """Summarise the trainings of a sweep."""
    from mlquant.core import disk
    from mlquant.studies import sweep

    settings = _json(args.sweep)
    _go_to_root(args)
    with disk.new_folder(args.out) as folder:
        sweep.summarise(settings, folder)


def study(args: argparse.Namespace) -> None:
    """Study networks and quantisers: tables, and figures of them."""
    from mlquant.core import disk
    from mlquant.studies import studies

    settings = _json(args.study)
    disk.require(settings, "study", "kind", "name")
    _go_to_root(args)
    with disk.new_folder(args.out) as folder:
        studies.make(settings, folder)


def rate(args: argparse.Namespace) -> None:
    """Rate and distortion of a chain of networks with a quantiser, for several numbers of its stages."""
    from mlquant.chains import coder
    from mlquant.core import blocks, disk

    settings = blocks.validate(coder.Settings, _json(args.settings), "settings").model_dump()
    _go_to_root(args)
    if settings["predict"] is not None:
        settings["predict"] = _coefficient(str(settings["predict"]))
    table = coder.measure(settings, args.samples)
    disk.write_text(args.out, table.to_csv(index=False, float_format="%.6g"))


def report(args: argparse.Namespace) -> None:
    """Write up all results as one page."""
    from mlquant import report

    report.write(_json(args.report), args.out)


def verify(args: argparse.Namespace) -> None:
    """Check that what made a result, and the result itself, are still what they were."""
    from mlquant.tools import verify

    if not verify.verify(args.folder):
        sys.exit(1)


def why(args: argparse.Namespace) -> None:
    """Tell what would run for a target, what made it so, and how long it takes."""
    from mlquant.tools import why

    why.explain(args.target, args.configfile, args.config, _cores())


def prune(args: argparse.Namespace) -> None:
    """List, or remove, the stages that the configuration no longer makes.

    These are folders results/KIND/NAME.KEY. Kept is whatever config.yaml, the files given with --configfile and the
    present code make, and what a provenance.json in results/*_wav, or in a variant that results/compare/ shows, still
    names: remove these folders first if they are to go. Folders that people name are never removed.
    """
    from mlquant.tools import prune

    prune.prune(args.configfile, args.delete)


def _go_to_root(args: argparse.Namespace) -> None:
    """Make the folder that the paths in records are meant from the current one; the arguments' own paths stay."""
    import os

    if args.root:
        for name, value in vars(args).items():
            if isinstance(value, Path):
                setattr(args, name, value.absolute())
            elif isinstance(value, list):
                setattr(args, name, [item.absolute() if isinstance(item, Path) else item for item in value])
        os.chdir(args.root)


# --- the command line ------------------------------------------------------------------------------------


def _json(text: str) -> dict:
    """An object given as JSON text or as the path of a JSON file."""
    from mlquant.core.disk import parse_json, read_json

    return parse_json(text, "settings") if text.lstrip().startswith("{") else read_json(text)


def _cores() -> int:
    """Cores that this process may use."""
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mlquant", description="Quantisation of speech vocoder features, by stages.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    audio = "any audio file that libsndfile reads, or headerless 16-bit 8 kHz .raw"
    wav = ".wav or headerless .raw"
    model = "records as of c2sim --modelout"
    spectra = "22 floats a frame, or the 79 of y for a network that takes y"

    def command(function: Callable, example: str, out: str | None = None, metavar: str = "FILE") -> Callable:
        """Add a command that writes `out`, if anything, to -o; returns what adds its other arguments."""
        name = function.__name__.replace("_", "-")
        about, epilog = function.__doc__, f"example: mlquant {name} {example}"
        sub = commands.add_parser(name, help=about.splitlines()[0], description=about, epilog=epilog)
        sub.set_defaults(function=function)
        if out:
            sub.add_argument("-o", "--out", type=Path, required=True, metavar=metavar, help=out)
        return sub.add_argument

    def root(add: Callable) -> None:
        add("--root", type=Path, metavar="DIR", help="folder that paths in records are meant from (default: this one)")

    def recorded(add: Callable, default: str | None = None) -> None:
        add("--record", metavar="JSON", default=default, help="text or file: what provenance.json is to tell besides")
        root(add)

    def trained(add: Callable) -> None:
        add("--settings", required=True, metavar="JSON", help="text or file; settings.json of a network will do")
        add("--features", nargs="+", required=True, metavar="B.f32", help="22 floats a frame")
        add("--target", nargs="+", metavar="Y.f32", help="79 floats a frame, for networks that make y_hat")
        add("--held-out", nargs="+", metavar="B.f32", help="features of other voices, to measure the training on")
        add("--held-out-target", nargs="+", metavar="Y.f32", help="their y, for networks that make y_hat")
        add("--keep-failure", action="store_true", help="of one that fails keep the reason, and exit with status 0")
        recorded(add, default="{}")

    def chosen(add: Callable) -> None:
        add("--thresh", type=float, metavar="DB", help="leave out frames of less energy")
        add("--pairs", type=int, metavar="N", help="each vector after the one N before it, for prediction")

    def vectors(add: Callable) -> None:
        add("-k", type=int, required=True, help="elements of a vector")
        add("--st", type=int, default=0, metavar="I", help="first element that counts (default 0)")
        add("--en", type=int, metavar="J", help="last element that counts (default k-1)")
        add("--threads", type=int, default=_cores(), help="change the speed, not the result (default all)")

    example = """'{"package": "codec2-examples"}' -o speech.tar --manifest manifest.json"""
    add = command(fetch, example, "tar of the audio files")
    add("source", help="JSON text or file with name, package, urls")
    add("--manifest", type=Path, required=True, metavar="FILE", help="JSON: origin and sha256 of each file")
    add("--apt", type=Path, metavar="DIR", help="keep package lists here, for the next call")
    add("--optional", action="store_true", help="when it cannot be had, write an empty archive and go on")

    add = command(prepare_sample, "speech.tar --member raw/big_dog.raw -o big_dog.raw", "16-bit 8 kHz .raw")
    add("speech", type=Path, help=f"a tar written by fetch, or {audio}")
    add("--member", metavar="GLOB", help="the file in the archive: its path ends so")
    add("--sha256", help="checksum that the file must have")

    example = """speech.tar --settings '{"minutes": 5, "seed": 1}' -o corpus.raw --manifest c.csv"""
    add = command(prepare_corpus, example, "16-bit 8 kHz .raw")
    add("speech", type=Path, nargs="*", help=f"a tar written by fetch, or audio: {audio}")
    add("--settings", required=True, metavar="JSON", help="text or file: include, exclude, minutes, ...")
    add("--manifest", type=Path, required=True, metavar="FILE", help="CSV of the files used")

    add = command(analyse, "big_dog.raw -o big_dog_model.bin", f"{model}, 1300 bytes a frame")
    add("speech", help=audio)

    add = command(features, "big_dog_model.bin --b big_dog_b.f32 --y big_dog_y.f32")
    add("model", help=model)
    add("--b", metavar="FILE", help="b[20] in dB, Wo, voicing: 22 floats a frame")
    add("--y", metavar="FILE", help="y[79] in dB: 79 floats a frame")
    add("--floor", type=float, default=-80.0, metavar="DB", help="least amplitude in dB (default -80)")

    add = command(resynth, "big_dog_model.bin -o big_dog_1_out.wav", wav)
    add("model", help=model)

    example = "--settings settings.json --features b.f32 --target y.f32 -o manifold"
    add = command(train, example, "weights, settings and loss curve", "DIR")
    trained(add)

    example = "weights.safetensors --settings settings.json --features b_hat.f32 --target y.f32 -o manifold24"
    add = command(train_on, example, "weights, settings and loss curve", "DIR")
    add("start", metavar="WEIGHTS", help="what it starts from")
    trained(add)
    latents = "quantised, of each of the features: train only the decoder, on these"
    add("--latents", nargs="+", metavar="L_HAT.f32", help=latents)
    add("--held-out-latents", nargs="+", metavar="L_HAT.f32", help="with --latents: those of --held-out")
    loop = "codebooks of all stages for the latents: train with their search between encoder and decoder"
    add("--loop", metavar="VQ1,VQ2,...", default="", help=loop)

    add = command(encode, "weights.safetensors b.f32 -o l.f32", "d floats a frame")
    add("weights")
    add("features", nargs="+", help=spectra)
    add("--training-share", action="store_true", help="leave out what the training held out of each file")
    chosen(add)

    add = command(shapes, "b.f32 -o shapes.f32", "20 floats a frame")
    add("features", nargs="+", help="22 floats a frame")
    add("--held-out", type=float, default=0.0, metavar="SHARE", help="leave out this end of each file (default 0)")
    chosen(add)

    add = command(from_shapes, "shapes_hat.f32 --features b.f32 -o b_hat.f32", "22 floats a frame")
    add("shapes", help="20 floats a frame")
    add("--features", required=True, metavar="B.f32", help="mean, Wo and voicing are passed on from here")

    add = command(decode, "weights.safetensors l_hat.f32 --features b.f32 -o b_hat.f32", "22 or 79 floats a frame")
    add("weights")
    add("latents", help="d floats a frame")
    add("--features", required=True, metavar="B.f32", help="energy, Wo and voicing are passed on from here")
    add("--energy-from", metavar="Y.f32", help="energy of y_hat (default: that of b)")

    add = command(infer, "weights.safetensors b.f32 --energy-from y.f32 -o y_hat.f32", "22 or 79 floats a frame")
    add("weights")
    add("features", help=spectra)
    add("--energy-from", metavar="Y.f32", help="energy of y_hat (default: that of b)")
    add("--noise-var", type=float, default=0.0, help="variance of noise on the latents (default 0)")
    add("--seed", type=int, default=1, help="of that noise (default 1)")

    add = command(vq_train, "l.f32 -k 10 -m 4096 -o vq1.f32 --residual res1.f32", "codebook, k floats an entry")
    add("train", help="k floats a vector")
    add("-m", type=int, required=True, help="entries of the codebook, a power of two where they are split")
    add("--stop", type=float, default=1e-4, help="relative gain at which a size is done (default 1e-4)")
    add("--seed", type=int, default=1, help="of the splits (default 1)")
    add("--residual", metavar="FILE", help="vectors less their entries: the next stage's training set")
    add("--trace", metavar="FILE", help="CSV: entries, variance, iterations")
    add("--no-split", dest="split", action="store_false", help="start from random vectors instead")
    after = "codebooks of earlier stages: train the next, on the residuals of all their survivors"
    add("--after", metavar="VQ1,VQ2,...", default="", help=after)
    add("--mbest", type=int, default=5, help="survivors of a stage, with --after (default 5)")
    predicted = "train on what A times the vector before leaves; TRAIN is of pairs, 2k floats. A number or a file"
    add("--predict", metavar="A", help=predicted)
    vectors(add)
    recorded(add)

    add = command(vq_predictor, "pairs.f32 -k 20 -o a.f32", "one float")
    add("pairs", help="2k floats: a vector and the next one, as of shapes or encode --pairs")
    add("-k", type=int, required=True, help="elements of a vector")

    add = command(vq_search, "l.f32 -k 10 -q vq1.f32,vq2.f32 --mbest 5 -o l_hat.f32", "quantised vectors")
    add("latents", help="k floats a vector")
    add("-q", dest="codebooks", required=True, metavar="VQ1,VQ2,...", help="codebooks of the stages")
    add("--mbest", type=int, default=5, help="survivors of a stage, and with --predict over time (default 5)")
    add("--indices", metavar="FILE", help="numpy file: an index a stage")
    add("--usage", action="store_true", help="print how many entries are used")
    add("--every", type=int, default=1, metavar="N", help="quantise every Nth, interpolate the others (default 1)")
    add("--predict", metavar="A", help="quantise what A times the one before, as quantised, leaves. A number or a file")
    add("--stretch", type=int, metavar="N", help="with --predict: begin anew every N that are sent (default never)")
    vectors(add)

    add = command(synth, "big_dog_model.bin y_hat.f32 -o big_dog.wav", wav)
    add("model", help=f"{model}: Wo, L and voicing are used")
    add("y_hat", help="79 floats a frame")
    add("--expand", type=float, default=1.0, metavar="FACTOR", help="a postfilter: range of amplitudes times this")
    add("--a", metavar="FILE", help="amplitudes as for c2sim --amread")
    add("--h", metavar="FILE", help="phase filter as for c2sim --hmread")

    add = command(anchor, "big_dog.raw --mode 3200 -o big_dog_8_3200.wav")
    add("speech", help=audio)
    modes = "bit/s: 3200, 2400, 1600, 1400, 1300, 1200 or 700C (default 3200); may be given several times"
    add("--mode", action="append", help=modes)
    add("-o", "--out", action="append", required=True, metavar="FILE", help=f"{wav}, one for each mode")

    add = command(measure, "record.json -o measured.json", "JSON: the same with measures")
    add("record", help="JSON text or file: sample, sex, references, rows with index, tag, bits and files")
    root(add)

    add = command(plot_losses, "losses.csv --title manifold -o losses.png", ".png or .svg")
    add("losses", type=Path)
    add("--title", default="")

    example = "experiment.json --measured big_dog.json -o results/experiments/240118.3f9a1c2e"
    add = command(tabulate, example, "measures, means, anchors, frames, README, provenance", "DIR")
    add("experiment", help="JSON text or file: name, title, samples, outputs")
    add("--measured", nargs="+", type=Path, required=True, metavar="JSON", help="one for each sample, and its anchors")
    sidecars = "provenance.json of each network and codebook"
    add("--sidecars", nargs="*", type=Path, default=[], metavar="JSON", help=sidecars)
    add("--origins", nargs="*", type=Path, default=[], metavar="FILE", help="what the speech came from")
    root(add)

    example = "results/experiments/240118.3f9a1c2e -o 240118_wav"
    add = command(page, example, "wavs, tables and index.html", "DIR")
    add("tables", type=Path, metavar="DIR", help="a folder written by tabulate")
    add("--figures", nargs="*", type=Path, default=[], metavar="PNG", help="loss curves")
    add("--history", type=Path, metavar="CSV", help="table of every variant so far, to which this one is added")
    root(add)

    add = command(compare, "results/240118_wav results/240125_wav")
    for name in "ab":
        add(name, type=Path, metavar=name.upper(), help="a folder written by page or by tabulate")
    add("-o", "--out", type=Path, metavar="DIR", help="tables and index.html (default results/compare/A_vs_B)")
    root(add)

    add = command(sweep, "sweep.json -o auto_test_a", "tables and loss curves", "DIR")
    add("sweep", help="JSON text or file: name, title, variants with label, folder, settings")
    root(add)

    add = command(study, "study.json -o noise", "tables and figures", "DIR")
    add("study", help="JSON text or file: kind, name, its settings and the files that it takes")
    root(add)

    add = command(rate, "rate.json --samples big_dog -o rates.csv", "CSV: a row for each number of stages")
    add("settings", help="JSON text or file: networks, quantised, codebooks, stages, features, samples, ...")
    add("--samples", nargs="+", metavar="NAME", help="of those in the settings, which to take (default all)")
    root(add)

    add = command(report, "report.json -o results/report.html", "one HTML file")
    add("report", help="JSON text or file: entries with kind, name, folder and settings; networks; quantisers")

    add = command(verify, "results/240118_wav")
    add("folder", nargs="+", type=Path, help="one with a provenance.json: of an experiment, a network or a codebook")

    configfile = "configuration over config.yaml, as for snakemake"
    add = command(why, "results/240118_wav")
    add("target", help="what snakemake would be asked for")
    add("--configfile", nargs="+", default=[], metavar="FILE", help=configfile)
    add("--config", nargs="+", default=[], metavar="KEY=VALUE", help="settings over these, as for snakemake")

    add = command(prune, "--delete")
    add("--delete", action="store_true", help="remove them, with their logs and benchmarks")
    add("--configfile", nargs="+", default=[], metavar="FILE", help=configfile)
    return parser


def main() -> None:
    """Run a command; bad input and failing files end in one line and exit status 1."""
    args = _parser().parse_args()
    # As on Ctrl-C, nothing half-written stays behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        args.function(args)
    except InputError as error:
        sys.exit(f"mlquant {args.command}: {error}")
    except OSError as error:
        where = error.filename or getattr(args, "out", None) or "output"
        sys.exit(f"mlquant {args.command}: {where}: {error.strerror or error}")
    except ModuleNotFoundError as error:
        sys.exit(f"mlquant {args.command}: package {error.name} is not installed, expected as in pyproject.toml")
    except KeyboardInterrupt:
        log(f"mlquant {args.command}: interrupted")
        sys.exit(130)


if __name__ == "__main__":
    main()
