"""What experiments take of the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlquant.chains.steps import Encode, Made
from mlquant.core import keys
from mlquant.core.errors import InputError
from mlquant.experiments import stages as experiments
from mlquant.networks import stages as networks
from mlquant.plan import records

if TYPE_CHECKING:
    from mlquant.chains.settings import Output
    from mlquant.experiments.settings import Experiment
    from mlquant.plan.config import Config
    from mlquant.plan.graph import Graph, Node


@dataclass(frozen=True)
class ExperimentPlan:
    """What an experiment is made of.

    `tables` is the node of its tables. By sample, `measured` holds the nodes of measures, `optional` the node that
    fetches the sample if it may be left out, `latents` those that the page starts from, and `sent` the indices of
    outputs with smoothing. `curves` are the loss curves of its networks, and `on_page` the other files that the page
    shows: of networks, codebooks and the test set.
    """

    tables: Node
    measured: dict[str, list[Node]]
    optional: dict[str, Node]
    latents: dict[str, str]
    sent: dict[str, list[str]]
    curves: list[str]
    on_page: list[str]


def experiment_of(graph: Graph, name: str) -> ExperimentPlan:
    """Add to the graph all that an experiment is made of, and return it."""
    config = graph.config
    experiment = config.experiments[name]
    outputs = experiment.outputs.values()
    bottleneck = _bottleneck(graph, experiment)
    measured, optional, latents, sent = {}, {}, {}, {}
    for sample_name in experiment.samples:
        sample = graph.sample(sample_name)
        rows = [graph.output(sample, index, output) for index, output in experiment.outputs.items()]
        _add_published(experiment, sample_name, rows)
        if bottleneck:
            takes_b = config.networks[bottleneck["network"]].row.source == "b"
            encode = Encode(weights=graph.weights(bottleneck["network"]))
            start = Made(sample.b if takes_b else sample.y, name=sample_name)
            latents[sample_name] = encode.of_files(graph, start).vectors
            smoothed = [choice for choice in bottleneck["choices"] if "smooth" in choice]
            for choice in smoothed:
                l_hat = next(row["files"]["l_hat"] for row in rows if row["index"] == choice["index"])
                choice["sent"][sample_name] = graph.maker(l_hat).file("indices.npy")
            sent[sample_name] = [choice["sent"][sample_name] for choice in smoothed]
        measured[sample_name] = [
            graph.measured(f"{name}_{sample_name}", sample, rows, latents.get(sample_name)),
            graph.anchors(sample),
        ]
        if sample.optional:
            optional[sample_name] = sample.optional
    _refuse_nothing_published(name, experiment, [nodes[0] for nodes in measured.values()])
    used = {node.name: node for output in outputs for node in map(graph.network, output.networks)}
    codebooks = [Path(path).parent for output in outputs for path in _codebooks(graph, output)]
    in_set = _in_set(graph, experiment)
    made = {
        "speech_dir": config.speech_dir,
        "networks": {name: node.folder for name, node in used.items()},
        "codebooks": {folder.name.rsplit(".", 1)[0]: str(folder) for folder in codebooks},
        "bottleneck": bottleneck,
        **({"measured_in_set": in_set} if in_set else {}),
    }
    settings, counted = (_settings(config, name, dumped) | made for dumped in (_dumped, keys.counted))
    inputs = [node.file("measured.json") for nodes in measured.values() for node in nodes]
    behind = graph.behind(inputs)
    sidecars = [node.file("provenance.json") for node in behind.values() if node.kind in records.WITH_SIDECAR]
    settings["definitions"] = records.definitions(behind.values())
    of_set = {}
    if in_set:
        of_set["of_set"] = [*in_set["utterances"], *(path for one in in_set["outputs"] for path in one["files"])]
    tables = graph.add(experiments.tabulate, name, settings, counted, measured=inputs, sidecars=sidecars, **of_set)
    curves = [
        graph.add(networks.plot_losses, name, {"title": name}, losses=node.file("losses.csv")).file("losses.png")
        for name, node in used.items()
    ]
    on_page = [f"{folder}/{file}" for folder in codebooks for file in ("vq.f32", "trace.csv")]
    files = ("weights.safetensors", "settings.json", "losses.csv")
    on_page += [node.file(file) for node in used.values() for file in files]
    on_page += [path for part in (in_set, *in_set.get("outputs", ())) for path in part.get("speech", ())]
    on_page += in_set.get("utterances", [])
    return ExperimentPlan(tables, measured, optional, latents, sent, curves, on_page)


def _in_set(graph: Graph, experiment: Experiment) -> dict[str, Any]:
    """Return the files of an experiment's test set: of each shard its table of utterances and its speech.

    For each output there are the tables of measures of the shards, and the coded speech.
    """
    if not experiment.test_set:
        return {}
    shards = graph.test_set(experiment.test_set)
    outputs = [[graph.set_measures(shard, output) for shard in shards] for output in experiment.outputs.values()]
    return {
        "utterances": [shard.utterances for shard in shards],
        "speech": [shard.speech for shard in shards],
        "outputs": [
            {"files": [node.file("measures.csv") for node in of], "speech": [node.file("speech.raw") for node in of]}
            for of in outputs
        ],
    }


def _settings(config: Config, name: str, dumped: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """Return the settings of an experiment's tables; `dumped` gives the settings of a block."""
    experiment = config.experiments[name]
    about = {key: value for key, value in dumped(experiment).items() if key not in ("in_all", "outputs")}
    outputs = [{"index": index, **dumped(output)} for index, output in experiment.outputs.items()]
    entries = records.config_of(config, name, dumped)
    # Only a quick look has what was lowered, so that it leaves the key of any other as it is.
    lowered = {"lowered": lowered} if (lowered := records.lowered(config, entries)) else {}
    return {"name": name, **about, "outputs": outputs, "config": entries, **lowered}


def _dumped(block: Any) -> dict[str, Any]:
    return block.model_dump(mode="json")


def _add_published(experiment: Experiment, sample: str, rows: list[dict]) -> None:
    """Add the published wavs of the same names, if they exist, to the files of an experiment's outputs."""
    if not experiment.published:
        return
    for row in rows:
        published = Path(experiment.published) / f"{sample}_{row['index']}_{row['tag']}.wav"
        row["files"] |= {"published": str(published)} if published.is_file() else {}


def _refuse_nothing_published(name: str, experiment: Experiment, measured: Iterable[Node]) -> None:
    """Raise InputError if the folder of published wavs has no wav of the experiment."""
    found = any("published" in row["files"] for node in measured for row in node.settings["rows"])
    if experiment.published and not found:
        raise InputError(
            f"config: experiments.{name}.published: {experiment.published} holds no wav of the experiment's, "
            f"expected <sample>_<index>_<tag>.wav"
        )


def _bottleneck(graph: Graph, experiment: Experiment) -> dict[str, Any] | None:
    """Return the network whose decoder runs in the page: that of the quantised outputs, or the last with a bottleneck.

    The result holds its weights, its codebooks and the choices of a quantiser as well; None without a bottleneck.
    """
    config = graph.config
    quantised = [(index, output) for index, output in experiment.outputs.items() if _runs_in_page(graph, output)]
    used = [network for output in experiment.outputs.values() for network in output.networks]
    network = next((name for name in reversed(used) if config.networks[name].d), None)
    if quantised:
        first = quantised[0][1].quantiser
        assert first  # outputs that run in the page are quantised
        network = config.quantisers[first].network
        quantised = [(index, output) for index, output in quantised if output.quantiser == first]
    if network is None:
        return None
    codebooks = [_codebooks(graph, output) for _, output in quantised]
    return {
        "network": network,
        "weights": graph.weights(network),
        "codebooks": max(codebooks, key=len, default=[]),
        "choices": [
            {"index": index, "tag": output.tag, "stages": len(paths), "mbest": output.mbest}
            | ({"smooth": output.smooth, "sent": {}} if output.smooth else {})
            for (index, output), paths in zip(quantised, codebooks, strict=True)
        ],
    }


def _runs_in_page(graph: Graph, output: Output) -> bool:
    """Return whether an output has the latents of one of its networks quantised, each vector on its own."""
    quantiser = graph.config.quantisers[output.quantiser] if output.quantiser else None
    return quantiser is not None and graph.config.is_memoryless(quantiser) and quantiser.network in output.networks


def _codebooks(graph: Graph, output: Output) -> list[str]:
    """Return the codebooks that an output is quantised with; none for one that is not quantised."""
    return graph.codebooks(output.quantiser, output.stages) if output.quantiser else []
