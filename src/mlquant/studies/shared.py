"""What several studies share: which files they take, and the vectors that they look at.

The vectors are those that a network is trained on. Vectors of the share that training holds out, or of the voices that
its corpus holds out, are kept apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlquant.core.blocks import nearest, refusal
from mlquant.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch


@dataclass(frozen=True)
class Summary:
    """What the folder of a study or a sweep is made of.

    `settings` are those of its command, with the paths of files put in; `files` are all files that it takes, and
    `anchors` are the measures of the anchors of each of its samples, by sample.
    """

    settings: dict
    files: list[str]
    anchors: dict[str, str]


def summary(name: str, settings: dict, files: dict) -> Summary:
    """Return the summary of a study from its settings and from its files, which lie in nested dicts and lists."""
    return Summary({**settings, **files, "name": name}, paths_in(files), {})


def paths_in(value: object) -> list[str]:
    """Return all texts in nested dicts and lists, each once: the paths among a study's files."""
    if isinstance(value, str):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return list(dict.fromkeys(path for item in items for path in paths_in(item)))


def refuse_repeated(name: str, values: Iterable[Any]) -> None:
    """Raise the refusal of a setting, for values of which one is there twice."""
    values = [*values]
    if len({*values}) < len(values):
        raise refusal(f"found {', '.join(map(str, values))}, expected each once", name)


def check_codecs(config: Any, name: str, codecs: list[str]) -> None:
    """Raise InputError for a name among the `codecs` of a study that is not that of a codec."""
    for i, codec in enumerate(codecs):
        if codec not in config.codecs:
            where = f"config: studies.{name}.codecs.{i}"
            raise InputError(f"{where}: {codec!r} names no codec, {nearest(codec, config.codecs)}")


def files_of_network(graph: Any, name: str) -> dict:
    """Return the weights of a network, and the features and targets of the speech it is trained and measured on."""
    network = graph.config.networks[name]
    b, y = graph.corpus(network.corpus)
    others_b, others_y = graph.corpus(network.corpus, held_out=True)
    makes_y = network.row.target == "y"
    files = {"weights": weights_of(graph, name), "features": b, "targets": y if makes_y else []}
    files |= {"held_out_features": others_b} if others_b else {}
    files |= {"held_out_targets": others_y} if others_b and makes_y else {}
    return files


def weights_of(graph: Any, network: str) -> str:
    """Return the file of the weights of a network."""
    return graph.network(network).file("weights.safetensors")


def files_of_quantiser(graph: Any, name: str) -> dict:
    """Return the codebooks of all stages of a quantiser, and the traces of their training."""
    codebooks = graph.codebooks(name, None)
    return {"codebooks": codebooks, "traces": [str(Path(path).with_name("trace.csv")) for path in codebooks]}


def frame_ms(graph: Any, network: str) -> int:
    """Return the time of one vector of latents of a network, in ms."""
    return 10 * graph.config.networks[network].ncat


def summary_of_quantiser(graph: Any, name: str, settings: Any) -> Summary:
    """Return the summary of a study of a quantiser on the latents that it is trained on, and on those held out."""
    quantiser = graph.config.quantisers[settings.quantiser]
    files = files_of_network(graph, quantiser.network) | files_of_quantiser(graph, settings.quantiser)
    measured = {"frame_ms": frame_ms(graph, quantiser.network), "thresh": quantiser.thresh}
    return summary(name, settings.model_dump() | measured, files)


def check_quantiser(config: Any, name: str, settings: Any, stages: int = 1) -> None:
    """Refuse a study whose quantiser is not of single vectors of latents, or has fewer stages than the study uses."""
    quantiser = config.quantisers[settings.quantiser]
    if not config.is_memoryless(quantiser):
        raise InputError(
            f"config: studies.{name}.quantiser: found {settings.quantiser!r}, expected one of kind lbg or "
            f"beam, of every vector of a network's latents"
        )
    if stages > (available := len(quantiser.stages)):
        raise InputError(
            f"config: studies.{name}.stages: found {stages}, but {settings.quantiser!r} has {available} stages"
        )


def check_direction(config: Any, name: str, key: str, network: str, target: str) -> None:
    """Refuse a study whose network does not go from b to the target, "b" or "y"."""
    row = config.networks[network].row
    if (row.source, row.target) != ("b", target):
        raise InputError(
            f"config: studies.{name}.{key}: {network!r} goes from {row.source} to {row.target}_hat, "
            f"expected from b to {target}_hat"
        )


def vector_sets(settings: dict) -> tuple:
    """Return a network, its settings, and two pairs of latents and targets [F, n]: of training and held-out vectors.

    The settings name the files as `files_of_network` gives them; a `thresh` among them, which a quantiser may have,
    takes the place of the network's own. Raises InputError for a network without latents, and for files that do not
    fit it.
    """
    from mlquant.core import records
    from mlquant.networks import inference, training

    require_files(settings)
    network, trained = inference.load(settings["weights"])
    if not network.row.encoder:
        raise InputError(f"{settings['weights']}: has no bottleneck, so no latents")
    feature_records = [records.read_features(path) for path in settings["features"]]
    targets = [records.read_f32(path, 79) for path in settings.get("targets", ())] or None
    others = [records.read_features(path) for path in settings.get("held_out_features", ())]
    others_y = [records.read_f32(path, 79) for path in settings.get("held_out_targets", ())] or None
    thresh = settings.get("thresh", trained["thresh"])
    arrays = training.training_set(trained | {"thresh": thresh}, feature_records, targets, (others, others_y))
    return network, trained, *((network.encode(x.numpy()), t) for x, t in (arrays[:2], arrays[2:]))


def require_files(settings: dict) -> None:
    """Raise InputError for a study without a file of features."""
    if not settings.get("features"):
        raise InputError("features: none, expected at least one file")


def sd_dB2(trained: dict, estimate: np.ndarray, target: torch.Tensor) -> float:
    """Return the mean spectral distortion in dB^2 of a network's outputs against targets, both [F, outputs]."""
    import torch

    from mlquant.networks import training

    return training.sd_dB2(trained, torch.from_numpy(estimate), target).item()


def chained(paths: list[str]) -> pd.DataFrame:
    """Read the traces of all stages of a quantiser as one table of its variance against the bits of a vector.

    While a stage is trained, the stages before it are whole. The table has the traces' columns, `stages`, the number
    of stages in use, and `bits`.
    """
    import numpy as np
    import pandas as pd

    from mlquant.core.tables import read_table

    traces = [read_table(path, "entries", "variance").assign(stages=i) for i, path in enumerate(paths, 1)]
    full = np.cumsum([0, *(np.log2(trace["entries"].iloc[-1]) for trace in traces)])
    return pd.concat([trace.assign(bits=full[i] + np.log2(trace["entries"])) for i, trace in enumerate(traces)])
