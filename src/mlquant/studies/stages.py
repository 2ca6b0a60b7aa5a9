"""The commands of studies and sweeps, and the measuring of rate and distortion that a study compares."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from mlquant.core.stage import Aside, File, Json, Root, Setting, stage

Folder = Annotated[Path, File(help="tables and figures", flag="--out", metavar="DIR")]


@stage(example="sweep.json -o auto_test_a")
def sweep(
    settings: Annotated[Json, Setting(help="JSON text or file", block="mlquant.studies.settings:Sweep")],
    *,
    out: Folder,
    root: Root = None,
) -> None:
    """Summarise the trainings of a sweep."""
    from mlquant.core import disk
    from mlquant.studies import sweep

    out = out.absolute()
    with disk.working_in(root), disk.new_folder(out) as folder:
        sweep.summarise(settings, folder)
        _record(settings, folder)


@stage(example="study.json -o noise")
def study(
    settings: Annotated[Json, Setting(help="JSON text or file", block="mlquant.studies.settings:study")],
    *,
    out: Folder,
    root: Root = None,
) -> None:
    """Make the tables and figures of a study."""
    from mlquant.core import disk
    from mlquant.studies import make

    disk.require(settings, "study", "kind", "name")
    out = out.absolute()
    with disk.working_in(root), disk.new_folder(out) as folder:
        make(settings, folder)
        _record(settings, folder)


def _record(settings: dict, folder: Path) -> None:
    """Write settings.json, by which the report shows a folder as it was made, if the workflow gives what it holds."""
    from mlquant.core import disk

    if "record" in settings:
        disk.write_json(folder / "settings.json", settings["record"])


@stage(
    "rates",
    table="rates.csv",
    found=("trained", "features", "targets", "held_out_features", "held_out_targets", "samples", "manifests"),
    example="rate.json --samples big_dog -o rates.csv",
)
def rate(
    settings: Annotated[Json, Setting(help="JSON text or file", block="mlquant.studies.settings:rate")],
    *,
    samples: Annotated[list[str], Aside(help="of those in the settings, which to take; by default all")] = [],  # noqa: B006
    manifests: Annotated[
        list[Path], File(help="those of the corpora behind it, which may hold no sample", metavar="CSV")
    ] = [],  # noqa: B006
    table: Annotated[Path, File(help="CSV: a row for each number of stages", flag="--out")],
    root: Root = None,
) -> None:
    """Measure rate and distortion of a chain with a quantiser.

    The chain is one of networks. It is measured with several numbers of the quantiser's stages.
    """
    from mlquant.core import blocks, disk
    from mlquant.speech.corpus import refuse_samples
    from mlquant.studies import rates

    checked = blocks.validate(rates.RateSettings, settings, "settings").model_dump()
    manifests = [path.absolute() for path in manifests]
    with disk.working_in(root):
        speech = {name: files["speech"] for name, files in checked["samples"].items() if name in samples or not samples}
        refuse_samples({name: disk.file_sha256(path) for name, path in speech.items()}, manifests)
        found = rates.measure(checked, samples or None)
    disk.write_text(table, found.to_csv(index=False, float_format="%.6g"))
