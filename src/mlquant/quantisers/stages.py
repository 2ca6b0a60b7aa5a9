"""The commands of quantisers: removal of the gain, training of codebooks, the search, and training through it.

Vectors are latents of a network or the shape of b, that is b without its gain. Options and formats of `vq-train` and
`vq-search` are those of vqtrain and vq_mbest of Codec 2.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from mlquant.core.errors import InputError, log, progress
from mlquant.core.stage import Aside, File, Json, Record, Root, Setting, stage
from mlquant.networks.types import FILES, Folder, HeldOut, HeldOutTargets, KeepFailure, Settings, Targets, Training
from mlquant.quantisers.types import (
    MBEST,
    STOP,
    Entries,
    ResetEvery,
    Seed,
    SendEvery,
    Share,
    Smooth,
    Stop,
    Survivors,
    Width,
)
from mlquant.vocoder.types import Pairs, Thresh

if TYPE_CHECKING:
    import numpy as np

    from mlquant.quantisers.vq import Training as TrainedCodebook

Vectors = Annotated[Path, File(help="k floats a vector")]
Codebooks = Annotated[list[Path], File(help="codebooks of the stages", flag="-q", metavar="VQ1,VQ2,...", commas=True)]
Before = Annotated[
    list[Path], File(help="codebooks of the stages before", flag="--after", metavar="VQ1,VQ2,...", commas=True)
]
Predictor = Annotated[Path | None, File(help="a coefficient written by vq-predictor")]
Predict = Annotated[
    str | None, Setting(help="a prediction coefficient: a number, or a file of vq-predictor", metavar="A")
]
First = Annotated[int, Setting(help="first element that counts", metavar="I")]
Last = Annotated[int | None, Setting(help="last element that counts; by default k-1", metavar="J")]
Threads = Annotated[int | None, Aside(help="threads of the search, which change its speed only; by default all")]


@stage("gain_removed", shape="shape.f32", example="b.f32 -o shape.f32")
def remove_gain(
    features: Annotated[list[Path], File(help="22 floats a frame")],
    *,
    held_out: Share = 0.0,
    thresh: Thresh | None = None,
    pairs: Pairs | None = None,
    shape: Annotated[Path, File(help="20 floats a frame", flag="--out")],
) -> None:
    """Take the gain out of b, which leaves its shape.

    The shape is what a quantiser of b itself codes.
    """
    from mlquant.core import records
    from mlquant.networks import rows
    from mlquant.quantisers import gain
    from mlquant.vocoder import chosen

    kept = []
    for read in map(records.read_features, features):
        read = read[: rows.training_frames({"held_out": held_out}, len(read))]
        kept.append(chosen.to_train_on(gain.without_gain(read), chosen.loud(read, thresh), pairs))
    chosen.write(shape, kept, features, thresh, pairs)


@stage("gain_restored", b_hat="b_hat.f32", example="shape_hat.f32 --features b.f32 -o b_hat.f32")
def restore_gain(
    shapes: Annotated[Path, File(help="20 floats a frame")],
    features: Annotated[
        Path, File(help="gain, Wo and voicing are passed on from here", flag="--features", metavar="B.f32")
    ],
    *,
    b_hat: Annotated[Path, File(help="22 floats a frame", flag="--out")],
) -> None:
    """Put the gain of b back to quantised shapes: b_hat."""
    from mlquant.core import records
    from mlquant.quantisers import gain

    read = records.read_features(features)
    records.write_f32(b_hat, gain.with_gain(records.read_f32(shapes, 20), read))


@stage("predictors", coefficient="a.f32", example="pairs.f32 -k 20 -o a.f32")
def vq_predictor(
    pairs: Annotated[Path, File(help="2k floats: a vector and the next one, as of remove-gain or encode --pairs")],
    *,
    k: Width,
    coefficient: Annotated[Path, File(help="one float", flag="--out")],
) -> None:
    """Fit the coefficient that predicts vectors from the last.

    It is that of least squares: each vector is predicted as so many times the vector before it.
    """
    import numpy as np

    from mlquant.core import records
    from mlquant.quantisers import vq

    before, vectors = np.split(records.read_f32(pairs, 2 * k), 2, axis=1)
    a = vq.predictor(vectors, before)
    log(f"prediction coefficient {a:.6f}")
    records.write_f32(coefficient, np.array([[a]]))


Train = Annotated[Path, File(help="k floats a vector; with prediction 2k, those of a vector and the next one")]
Codebook = Annotated[Path, File(help="codebook, k floats an entry", flag="--out")]
Residual = Annotated[Path | None, File(help="vectors less their entries: the next stage's training set")]
Trace = Annotated[Path | None, File(help="CSV: entries, variance, iterations")]


@stage(
    "codebooks",
    codebook="vq.f32",
    residual="residual.f32",
    trace="trace.csv",
    extra_files=("provenance.json",),
    example="l.f32 -k 10 -m 4096 -o vq1.f32 --residual res1.f32",
)
def vq_train(
    train: Train,
    predictor: Predictor = None,
    *,
    k: Width,
    m: Entries,
    stop: Stop = STOP,
    seed: Seed = 1,
    predict: Predict = None,
    st: First = 0,
    en: Last = None,
    no_split: Annotated[bool, Setting(help="start from random vectors instead")] = False,
    threads: Threads = None,
    codebook: Codebook,
    residual: Residual = None,
    trace: Trace = None,
    record: Record = None,
    root: Root = None,
) -> None:
    """Train one codebook (LBG)."""
    from mlquant.core import provenance
    from mlquant.quantisers import vq

    started = provenance.now()
    vectors, a = _to_train_on(train, k, predict, predictor)
    options: dict[str, Any] = {"seed": seed, "stop": stop, "threads": threads or _cores(), "report": _reporting(m)}
    result = vq.train(vectors, m, st=st, en=en, split=not no_split, **options)
    _write_codebook(result, codebook, residual, trace, st, en)
    if record is not None:
        settings = {"k": k, "m": m, "stop": stop, "seed": seed, "st": st, "en": en, "split": not no_split}
        settings |= {} if a is None else {"predict": a}
        inputs = provenance.checksums([train, *_coefficient_files(predict, predictor)], root)
        provenance.sidecar(codebook.parent, record, settings, inputs, started)


@stage(
    "codebooks",
    codebook="vq.f32",
    residual="residual.f32",
    trace="trace.csv",
    extra_files=("provenance.json",),
    example="l.f32 -k 10 -m 4096 --after vq1.f32 --mbest 5 -o vq2.f32",
)
def vq_train_beam(
    train: Train,
    after: Before,
    predictor: Predictor = None,
    *,
    k: Width,
    m: Entries,
    mbest: Survivors = MBEST,
    stop: Stop = STOP,
    seed: Seed = 1,
    predict: Predict = None,
    threads: Threads = None,
    codebook: Codebook,
    residual: Residual = None,
    trace: Trace = None,
    record: Record = None,
    root: Root = None,
) -> None:
    """Train one more codebook, on the survivors of a search.

    It comes after the codebooks of --after, and is trained on what all survivors of a search through these leave.
    """
    from mlquant.core import provenance
    from mlquant.quantisers import vq
    from mlquant.quantisers.files import read_codebooks

    started = provenance.now()
    vectors, a = _to_train_on(train, k, predict, predictor)
    before = read_codebooks(after, k)
    options: dict[str, Any] = {"seed": seed, "stop": stop, "threads": threads or _cores(), "report": _reporting(m)}
    result = vq.train_beam(vectors, before, m, mbest=mbest, **options)
    _write_codebook(result, codebook, residual, trace)
    if record is not None:
        settings = {"k": k, "m": m, "stop": stop, "seed": seed, "mbest": mbest}
        settings |= {} if a is None else {"predict": a}
        inputs = provenance.checksums([train, *after, *_coefficient_files(predict, predictor)], root)
        provenance.sidecar(codebook.parent, record, settings, inputs, started)


def _to_train_on(train: Path, k: int, predict: str | None, predictor: Path | None) -> tuple[np.ndarray, float | None]:
    """Return vectors [n, k] to train on, or with prediction their residuals, and the coefficient or None."""
    import numpy as np

    from mlquant.core import records
    from mlquant.quantisers import vq
    from mlquant.quantisers.files import read_coefficient

    a = read_coefficient(predict, predictor)
    if a is None:
        return records.read_f32(train, k), None
    before, vectors = np.split(records.read_f32(train, 2 * k), 2, axis=1)
    return vq.prediction_residuals(vectors, before, a), a


def _coefficient_files(predict: str | None, predictor: Path | None) -> list[Path]:
    """Return the file that the coefficient of prediction was read from, if there is one."""
    given = predictor or Path(predict or "")
    return [given] if given.is_file() else []


def _reporting(m: int) -> Callable[[int, float, int], None]:
    """Return the function by which a training reports on each size of the codebook that is done."""
    return lambda entries, variance, iterations: progress(
        f"{entries} entries: variance {variance:.6f} after {iterations} iterations", done=entries == m
    )


def _write_codebook(
    result: TrainedCodebook,
    codebook: Path,
    residual: Path | None,
    trace: Path | None,
    st: int = 0,
    en: int | None = None,
) -> None:
    """Write the files of a trained codebook, the codebook itself last."""
    import numpy as np

    from mlquant.core import disk, records

    deviation = np.sqrt(np.square(result.residual[:, st : None if en is None else en + 1]).mean(axis=1))
    log(
        f"standard deviation {np.sqrt(result.trace[-1][1]):.6f}, outliers > 1/2/3: "
        f"{'/'.join(f'{np.mean(deviation > limit):.3f}' for limit in (1, 2, 3))}, "
        f"entries used {result.counts.min()} to {result.counts.max()} times"
    )
    if trace:
        rows = [f"{entries},{variance:.9g},{iterations}" for entries, variance, iterations in result.trace]
        disk.write_text(trace, "\n".join(["entries,variance,iterations", *rows]) + "\n")
    if residual:
        records.write_f32(residual, result.residual)
    records.write_f32(codebook, result.codebook)


@stage(
    "quantised",
    l_hat="l_hat.f32",
    indices="indices.npy",
    example="l.f32 -k 10 -q vq1.f32,vq2.f32 --mbest 5 -o l_hat.f32",
)
def vq_search(
    latents: Vectors,
    codebooks: Codebooks,
    predictor: Predictor = None,
    *,
    k: Width,
    mbest: Survivors = MBEST,
    send_every: SendEvery = 1,
    predict: Predict = None,
    reset_every: ResetEvery | None = None,
    smooth: Smooth = 0.0,
    st: First = 0,
    en: Last = None,
    threads: Threads = None,
    usage: Annotated[bool, Aside(help="print how many entries are used")] = False,
    l_hat: Annotated[Path, File(help="quantised vectors", flag="--out")],
    indices: Annotated[Path | None, File(help="numpy file: an index a stage")] = None,
) -> None:
    """Quantise vectors with one or more codebooks (M-best)."""
    import io

    import numpy as np

    from mlquant.core import disk, records
    from mlquant.quantisers import vq
    from mlquant.quantisers.files import read_codebooks, read_coefficient

    vectors = records.read_f32(latents, k)
    stages, a = read_codebooks(codebooks, k), read_coefficient(predict, predictor)
    if a is None and reset_every is not None:
        raise InputError("--predict: none, expected a coefficient with --reset-every")
    if a is not None and (st or en is not None):
        raise InputError("--predict: found with --st or --en, expected without")
    options: dict[str, Any] = {"send_every": send_every, "a": a, "reset_every": reset_every, "smooth": smooth}
    options |= {"st": st, "en": en}
    chosen, quantised = vq.quantise(vectors, stages, mbest, threads=threads or _cores(), **options)
    error = vq.mean_squared_error(vectors[::send_every], quantised, st=st, en=en)
    log(f"mean squared error {error:.6g}")
    if usage:
        for stage, counts in enumerate(vq.usage(chosen, [len(codebook) for codebook in stages]), 1):
            log(f"stage {stage}: {np.count_nonzero(counts)} of {len(counts)} entries used, most {counts.max()}")
    if indices:
        buffer = io.BytesIO()
        np.save(buffer, chosen, allow_pickle=False)
        disk.write_bytes(indices, buffer.getvalue())
    records.write_f32(l_hat, vq.interpolated(quantised, send_every, len(vectors)))


@stage(
    "superframes",
    tables="tables.safetensors",
    example="""b.f32 --target y.f32 --settings '{"of": "shape", "stages": [{}]}' -o shape20.safetensors""",
)
def vq_superframe(
    features: Annotated[list[Path], File(help="b, 22 floats a frame, at a pitch that is sent")],
    targets: Annotated[
        list[Path], File(help="y of the same speech, 79 floats a frame", flag="--target", metavar="Y.f32")
    ],
    *,
    settings: Annotated[
        Json, Setting(help="JSON text or file", block="mlquant.quantisers.settings:SuperframeSettings")
    ],
    threads: Threads = None,
    tables: Annotated[Path, File(help="mean, predictor and codebooks", flag="--out")],
) -> None:
    """Train a quantiser of superframes for a codec."""
    from mlquant.core import blocks, disk
    from mlquant.quantisers import superframe
    from mlquant.quantisers.files import read_superframes, saved, tensors_of
    from mlquant.quantisers.settings import SuperframeSettings

    asked = blocks.validate(SuperframeSettings, settings, "settings")
    streams, known = read_superframes(features, targets, asked)
    stages = [superframe.Stage(one.size, one.stop, one.seed) for one in asked.stages]
    options: dict[str, Any] = asked.model_dump(include={"predict", "largest", "hidden", "eight_bit"})
    found = superframe.train(streams, stages, known=known, threads=threads or _cores(), **options)
    disk.write_bytes(tables, saved(tensors_of(found)))


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@stage(
    "networks",
    out=FILES,
    example="weights.safetensors --settings settings.json --features b_hat.f32 --target y.f32 -o manifold24",
)
def train_on(
    initial: Annotated[Path, File(help="weights that the training begins with")],
    settings: Settings,
    features: Training,
    targets: Targets = [],  # noqa: B006
    held_out_features: HeldOut = [],  # noqa: B006
    held_out_targets: HeldOutTargets = [],  # noqa: B006
    latents: Annotated[
        list[Path],
        File(
            help="quantised latents of each of the features: the decoder alone is trained, on these",
            flag="--latents",
            metavar="L_HAT.f32",
        ),
    ] = [],  # noqa: B006
    held_out_latents: Annotated[
        list[Path],
        File(help="with --latents: those of --held-out", flag="--held-out-latents", metavar="L_HAT.f32"),
    ] = [],  # noqa: B006
    codebooks: Annotated[
        list[Path],
        File(
            help="codebooks of all stages for the latents: their search is in the training between encoder and decoder",
            flag="--loop",
            metavar="VQ1,VQ2,...",
            commas=True,
        ),
    ] = [],  # noqa: B006
    *,
    out: Folder,
    keep_failure: KeepFailure = False,
    record: Record = None,
    root: Root = None,
) -> None:
    """Train a network on, from the weights that it has.

    It is trained on other inputs, on quantised latents, or through a quantiser.
    """
    from mlquant.networks import dense, files, rows, training
    from mlquant.quantisers import vq
    from mlquant.quantisers.files import read_codebooks

    def begin(settings: dict, read: list[np.ndarray], others: list[np.ndarray]) -> dict:
        begun: dict[str, Any] = {"initial": dense.load(initial, training.state_of)}
        if codebooks:
            width = rows.latent_width(settings) or 1
            begun |= {"codebooks": read_codebooks(codebooks, width), "refined": vq.refined}
        if latents or held_out_latents:
            own = files.read_latents("--latents", latents, features, read, settings)
            held_out = files.read_latents("--held-out-latents", held_out_latents, held_out_features, others, settings)
            begun["latents"] = own, held_out
        return begun

    read_files = {"features": features, "targets": targets, "initial": [initial], "codebooks": codebooks}
    read_files |= {"held_out_features": held_out_features, "held_out_targets": held_out_targets}
    read_files |= {"latents": latents, "held_out_latents": held_out_latents}
    files.train("train-on", settings, read_files, out, keep_failure, record, root, begin)
