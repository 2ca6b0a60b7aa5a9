"""Records of nodes: the provenance of networks and codebooks, the configuration of an experiment, its origins."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mlquant.chains.steps import with_initial
from mlquant.core import keys, provenance
from mlquant.plan.config import LIMITS

if TYPE_CHECKING:
    from mlquant.plan.config import Config
    from mlquant.plan.graph import Graph, Node

WITH_SIDECAR = {"networks": "weights.safetensors", "codebooks": "vq.f32"}
"""The kinds of results that have a provenance.json of their own, and the file of each that a user would ask for."""
_NAMED = 50  # most inputs that a record names one by one: it is one argument of a command, at most 128 kB on Linux


def recorded(nodes: Mapping[str, Node]) -> dict[str, dict]:
    """Return the records of nodes for a provenance.json, by folder."""
    return {
        folder: {
            **{"key": node.key, "command": node.command, "settings": node.settings},
            # The manifest of a corpus of many own files lists each of them with its checksum.
            "inputs": {
                name: paths if len(paths) <= _NAMED else f"{len(paths)} files, from {paths[0]} to {paths[-1]}"
                for name, paths in node.inputs.items()
            },
        }
        for folder, node in nodes.items()
    }


def sidecar(graph: Graph, node: Node) -> str:
    """Return what the provenance.json of a network or codebook holds besides its settings, as one JSON text."""
    files = [path for paths in node.inputs.values() for path in paths]
    nodes = {node.folder: node, **graph.behind(files, without=WITH_SIDECAR)}
    record = {
        "command": f"snakemake {node.file(WITH_SIDECAR[node.kind])}",
        "stages": recorded(nodes),
        "definitions": definitions([node]),
    }
    return json.dumps(record, sort_keys=True)


def definitions(nodes: Iterable[Node]) -> dict[str, str]:
    """Return the definitions that the commands of nodes reach, each with eight hex digits of its meaning."""
    entries = sorted({node.stage.entry for node in nodes})
    return dict(sorted({name: one for entry in entries for name, one in keys.reached(entry).items()}.items()))


def config_of(config: Config, name: str, dumped: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """Return the part of the checked configuration that an experiment is made by, without its samples.

    `dumped` gives the settings of a block. Where an upper limit lowers one of them, the limits are part of it.
    """
    experiment, limited, config = config.experiments[name], config, config.whole
    users: list[Any] = [output for output in experiment.outputs.values() if output.quantiser]
    used = [network for output in experiment.outputs.values() for network in output.networks]
    networks, quantisers = with_initial(config, used, {output.quantiser for output in users})
    codecs = {output.codec for output in experiment.outputs.values() if output.codec}
    for codec in (config.codecs[name] for name in codecs):
        quantisers |= {codec.energy, codec.shape}
    users += [config.networks[network] for network in networks if config.networks[network].quantiser]
    corpora = {config.networks[network].corpus for network in networks}
    corpora |= {config.codecs[name].corpus for name in codecs}
    corpora |= set(filter(None, (config.quantisers[name].corpus for name in quantisers)))
    sources = {part.source for corpus in corpora for part in config.corpora[corpus].parts.values()}
    sources |= {config.samples[sample].source for sample in experiment.samples if sample in config.samples}
    test_sets = [experiment.test_set] if experiment.test_set else []
    sources |= {part.source for name in test_sets for part in config.test_sets[name].parts.values()}
    chosen: dict[str, Iterable[str]] = {
        "sources": filter(None, sources),
        "corpora": corpora,
        **({"test_sets": test_sets} if test_sets else {}),
        "networks": networks,
        "quantisers": quantisers,
        **({"codecs": codecs} if codecs else {}),
    }
    entries = {
        kind: {entry: dumped(getattr(config, kind)[entry]) for entry in sorted(names)} for kind, names in chosen.items()
    }
    for quantiser, entry in entries["quantisers"].items():
        stages = [user.stages or len(entry["stages"]) for user in users if user.quantiser == quantiser]
        entry["stages"] = entry["stages"][: max(stages, default=None)]
    # Only those settings of an output that were set: some of the others exclude each other.
    outputs = {
        str(index): output.model_dump(mode="json", exclude_unset=True) for index, output in experiment.outputs.items()
    }
    about = {key: value for key, value in dumped(experiment).items() if key != "in_all"}
    entries["experiments"] = {name: about | {"outputs": outputs}}
    own = {"speech_dir": config.speech_dir, "features": config.features.model_dump()}
    limits = {limit: value for limit in LIMITS if (value := getattr(config, limit))}
    return {"complete": True, **own, **entries, **(limits if lowered(limited, entries) else {})}


def lowered(config: Config, entries: Mapping[str, Any]) -> dict[str, list]:
    """Return what upper limits lowered in the entries of an experiment, as `Config.lowered` does.

    Of a quantiser, only the stages that are there count.
    """
    sections = [name for name in ("corpora", "networks", "quantisers", "codecs") if name in entries]
    found = config.lowered([f"{section}.{name}" for section in sections for name in entries[section]])
    return {place: values for place, values in sorted(found.items()) if provenance.block_at(entries, place)}


def origins(graph: Graph, measured: Iterable[Node]) -> list[str]:
    """Return the files that the speech behind some measures, and behind their networks, came from.

    These are the user's own files, the archives, and the manifest of each corpus, which lists what was taken of them.
    """
    files = []
    for node in graph.behind([node.file("measured.json") for node in measured]).values():
        if node.kind in ("sources", "optional_sources"):
            files += [node.file("speech.tar"), node.file("manifest.json")]
        elif node.kind == "corpora":
            files.append(node.file("manifest.csv"))
        elif node.kind == "samples" and node.inputs["speech"][0].rpartition("/")[0] not in graph.nodes:
            files += node.inputs["speech"]
    return files
