"""What sweeps and studies take of the graph, and what their folders record of the configuration for the report."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mlquant import studies
from mlquant.chains.steps import with_initial
from mlquant.core import keys
from mlquant.plan.config import place_of
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


def record_of(config: Config, kind: str, name: str, key: str) -> dict[str, Any]:
    """Return what the folder of a study or sweep records, for the report: how it was made, and under which key.

    That is its own settings, those of the networks, quantisers and codecs that it uses, and what upper limits lowered
    in them.
    """
    section = {"study": "studies", "sweep": "sweeps"}[kind]
    block, place = getattr(config, section)[name], f"{section}.{name}"
    users = [*getattr(block, "chains", {}).values(), *([block] if kind == "study" else [])]
    if kind == "study" and (measured := getattr(studies.kinds()[block.kind], "chains", None)):
        users += measured(config, block)
    used = [network for user in users for network in getattr(user, "networks", [])]
    used += [network for key in ("network", "manifold") if (network := getattr(block, key, None))]
    named = {quantiser for user in users if (quantiser := getattr(user, "quantiser", None))}
    of_users = (codec for user in users if (codec := getattr(user, "codec", None)))
    codecs = [*dict.fromkeys([*getattr(block, "codecs", []), *of_users])]
    named |= {quantiser for name in codecs for quantiser in (config.codecs[name].energy, config.codecs[name].shape)}
    used, quantised = with_initial(config, used, named)
    networks = {network: _counted(config.networks[network]) for network in used}
    if kind == "study" and (shared := _in_common(config, f"{place}.")):
        networks[place] = shared
    quantisers = {quantiser: _counted(config.quantisers[quantiser]) for quantiser in sorted(quantised)}
    record = {"kind": kind, "name": name, "key": key, "settings": block.model_dump(mode="json")}
    return record | {
        "networks": networks,
        "quantisers": quantisers,
        **({"codecs": {codec: _counted(config.codecs[codec]) for codec in codecs}} if codecs else {}),
        "lowered": _lowered(config, place, used, quantised, codecs),
    }


def _counted(block: Any) -> dict[str, Any]:
    """Return the settings of a network or quantiser that keys count, so that a new one makes no study again."""
    return {name: value for name, value in keys.counted(block).items() if name != "row"}


def _lowered(
    config: Config, place: str, networks: Iterable[str], quantisers: Iterable[str], codecs: Iterable[str]
) -> dict[str, list]:
    """Return what upper limits lowered in networks and quantisers, in those that a study or sweep adds, and behind.

    Behind codecs are their corpora.
    """
    networks = [*networks, *(name for name in config.networks if name.startswith(f"{place}."))]
    quantisers = [*quantisers, *(name for name in config.quantisers if name.startswith(f"{place}."))]
    corpora = [config.networks[name].corpus for name in networks] + [
        config.quantisers[name].corpus for name in quantisers
    ]
    corpora += [config.codecs[name].corpus for name in codecs]
    entries = [place_of("networks", name) for name in networks]
    entries += [place_of("quantisers", name) for name in quantisers]
    return config.lowered([*entries, *(f"corpora.{corpus}" for corpus in corpora if corpus)])


def _in_common(config: Config, places: str) -> dict[str, Any]:
    """Return the settings that all networks of a study have in common; `places` is the start of their places."""
    networks = [network for place, network in config.networks.items() if place.startswith(places)]
    settings = [_counted(network) for network in networks]
    if not settings:
        return {}
    return {key: value for key, value in settings[0].items() if all(one.get(key) == value for one in settings)}
