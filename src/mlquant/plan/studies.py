"""What sweeps and studies take of the graph, and what the report takes of the configuration."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mlquant import studies
from mlquant.chains.steps import with_initial
from mlquant.studies import sweep
from mlquant.studies.shared import Summary

if TYPE_CHECKING:
    from mlquant.plan.config import Config
    from mlquant.plan.graph import Graph


def sweep_of(graph: Graph, name: str) -> Summary:
    """Return what the folder of a sweep is made of."""
    return sweep.needs(graph, name, graph.config.sweeps[name])


def study_of(graph: Graph, name: str) -> Summary:
    """Return what the folder of a study is made of."""
    settings = graph.config.studies[name]
    return studies.kinds()[settings.kind].needs(graph, name, settings)


def report_of(config: Config, entries: Iterable[tuple[str, str, str]]) -> dict[str, Any]:
    """Return what the report takes besides tables: the settings of entries, and of all networks and quantisers of them.

    An entry is given by its kind, "experiment", "study" or "sweep", its name, and the folder of its results.
    """
    sections: dict[str, dict] = {"experiment": config.experiments, "study": config.studies, "sweep": config.sweeps}
    found: list[dict[str, Any]] = []
    networks: dict[str, Any] = {}
    quantisers: dict[str, Any] = {}
    for kind, name, folder in entries:
        block = sections[kind][name]
        chains = [*block.outputs.values()] if kind == "experiment" else [*getattr(block, "chains", {}).values()]
        users = [*chains, *([block] if kind == "study" else [])]
        used = [network for user in users for network in getattr(user, "networks", [])]
        used += [network for key in ("network", "manifold") if (network := getattr(block, key, None))]
        named = {quantiser for user in users if (quantiser := getattr(user, "quantiser", None))}
        used, quantised = with_initial(config, used, named)
        networks |= {network: config.networks[network].model_dump(exclude={"row"}) for network in used}
        quantisers |= {quantiser: config.quantisers[quantiser].model_dump() for quantiser in quantised}
        if kind == "study" and (shared := _in_common(config, f"studies.{name}.")):
            networks[f"studies.{name}"] = shared
            used.append(f"studies.{name}")
        entry = {"kind": kind, "name": name, "folder": folder, "settings": _dumped(block)}
        found.append(entry | {"networks": [*dict.fromkeys(used)], "quantisers": sorted(quantised)})
    return {"entries": found, "networks": networks, "quantisers": quantisers}


def _dumped(block: Any) -> dict[str, Any]:
    """Return the settings of an entry; the outputs of an experiment are a list, each with its index."""
    settings = block.model_dump()
    if "outputs" in settings:
        settings["outputs"] = [{"index": index, **output} for index, output in settings["outputs"].items()]
    return settings


def _in_common(config: Config, places: str) -> dict[str, Any]:
    """Return the settings that all networks of a study have in common; `places` is the start of their places."""
    networks = [network for place, network in config.networks.items() if place.startswith(places)]
    settings = [network.model_dump(exclude={"row"}) for network in networks]
    if not settings:
        return {}
    return {key: value for key, value in settings[0].items() if all(one[key] == value for one in settings)}
