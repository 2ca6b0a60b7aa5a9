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
        result |= {"pesq": not library.is_missing("pesq"), "empty": empty}
    disk.write_json(measured, record | result)
