"""The command that writes all results up."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from mlquant.core.stage import File, Json, Setting, stage


@stage(example="report.json -o results/report.html")
def report(
    settings: Annotated[Json, Setting(help="JSON text or file", block="mlquant.report.settings:Report")],
    *,
    out: Annotated[Path, File(help="one HTML file", flag="--out")],
) -> None:
    """Write up all results as one page."""
    from mlquant import report

    report.write(settings, out)
