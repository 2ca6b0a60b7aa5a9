"""The command that measures what was made of a sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from mlquant.core.stage import File, Json, Root, Setting, stage


@stage("measures", measured="measured.json", found=("files",), example="record.json -o measured.json")
def measure(
    record: Annotated[Json, Setting(help="JSON text or file", block="mlquant.measures.settings:Record")],
    *,
    measured: Annotated[Path, File(help="JSON file: the record with its measures", flag="--out")],
    root: Root = None,
) -> None:
    """Measure the outputs of one sample."""
    from mlquant.core import disk, provenance
    from mlquant.measures import library, measures

    disk.require(record, "record", "sample", "sex", "references", "rows", "stages")
    with disk.working_in(root):
        try:
            found, frames, empty = measures.measure_sample(record)
        finally:
            library.end()
        speaker = {"sample": record["sample"], "sex": record["sex"]}
        used = {*record["references"].values(), *(path for row in record["rows"] for path in row["files"].values())}
        result = {"measures": [row | speaker for row in found], "frames": frames, "files": provenance.checksums(used)}
        optional = measures.not_installed()
        result |= {"pesq": not library.is_missing("pesq"), "optional": optional}
        result |= {"empty": [text for text in empty if text not in optional]}
    disk.write_json(measured, record | result)


@stage(
    "set_measures",
    table="measures.csv",
    speech_out="speech.raw",
    found=("trained",),
    example="set.raw set.csv --settings coding.json --model m.bin --b b.f32 --y y.f32 -o coded.csv --speech c.raw",
)
def measure_set(
    speech: Annotated[Path, File(help="the speech of a test set, written by prepare-set")],
    utterances: Annotated[Path, File(help="CSV of its utterances")],
    model: Annotated[Path, File(help="their model, written by analyse-set", flag="--model")],
    b: Annotated[Path, File(help="their b", flag="--b")],
    y: Annotated[Path, File(help="their y", flag="--y")],
    *,
    settings: Annotated[Json, Setting(help="JSON text or file", block="mlquant.measures.settings:Coding")],
    table: Annotated[Path, File(help="CSV: a row for each utterance", flag="--out")],
    speech_out: Annotated[Path, File(help="the coded speech of all", flag="--speech")],
    root: Root = None,
) -> None:
    """Code and measure each utterance of a test set."""
    import pandas as pd

    from mlquant.core import blocks, disk, records
    from mlquant.measures import columns, library, sets
    from mlquant.measures.settings import Coding

    coding = blocks.validate(Coding, settings, "settings")
    shard = sets.Shard(*(path.absolute() for path in (speech, utterances, model, b, y)))
    with disk.working_in(root):
        try:
            rows, coded = sets.measure(coding, shard)
        finally:
            library.end()
    found = pd.DataFrame(rows, columns=[*columns.OF_SET])
    disk.write_text(table.absolute(), found.to_csv(index=False, float_format="%.9g"))
    records.write_speech(speech_out, coded)
