"""What sweeps and studies take of the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlquant.plan.graph import Graph


@dataclass(frozen=True)
class Summary:
    """What a sweep's or a study's folder is made of: settings, paths among them, and all files that it takes."""

    settings: dict[str, Any]
    files: list[str]
    anchors: dict[str, str]


def sweep_of(graph: Graph, name: str) -> Summary:
    return Summary({}, [], {})


def study_of(graph: Graph, name: str) -> Summary:
    return Summary({}, [], {})
