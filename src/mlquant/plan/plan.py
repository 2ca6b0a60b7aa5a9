"""The plan of a configuration: all nodes, and the experiments, sweeps and studies made of them.

The Snakefile uses it, and the tools that ask what a run would do.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mlquant import studies
from mlquant.core import keys
from mlquant.core.blocks import nearest_of
from mlquant.core.disk import read_json
from mlquant.core.errors import Faults
from mlquant.networks.types import HELD_OUT_BELOW
from mlquant.plan import records
from mlquant.plan.experiments import ExperimentPlan, experiment_of
from mlquant.plan.graph import Graph, Node
from mlquant.plan.listening import heard, settings_of, tests_of
from mlquant.plan.studies import Summary, record_of, study_of, sweep_of

if TYPE_CHECKING:
    from mlquant.plan.config import Config


class Plan:
    """All nodes of a configuration, by folder, and the experiments, sweeps and studies made of them.

    Raises InputError with a line for each entry of which no nodes can be made.
    """

    def __init__(self, config: Config):
        self.config, self.graph = config, Graph(config)
        self.experiments: dict[str, ExperimentPlan] = {}
        self.sweeps: dict[str, Summary] = {}
        self.studies: dict[str, Summary] = {}
        self.tests = tests_of(config)
        faults = Faults()
        for name in config.networks:
            with faults.gathered():
                self.graph.network(name)
        for name in config.codecs:
            with faults.gathered():
                self.graph.codec(name)
        for name in config.experiments:
            with faults.gathered():
                self.experiments[name] = experiment_of(self.graph, name)
        for name in config.sweeps:
            with faults.gathered():
                self.sweeps[name] = sweep_of(self.graph, name)
        for name in config.studies:
            with faults.gathered():
                self.studies[name] = study_of(self.graph, name)
        faults.tell()

    @property
    def nodes(self) -> dict[str, Node]:
        return self.graph.nodes

    def __getitem__(self, folder: str) -> Node:
        """The node of a folder; InputError for one that the configuration does not make (any more)."""
        return self.graph[folder]

    def params(self, entries: tuple[str, ...], settings: dict[str, Any]) -> str:
        """Return what a folder without a key depends on besides its files, as one JSON text.

        `entries` names the functions whose code counts, as `keys.digest` takes them.
        """
        return json.dumps({**settings, "code": keys.digest(entries)}, sort_keys=True)

    def of_listening(self, test: str) -> str:
        """Return what the folder of a listening test depends on besides files, as JSON text."""
        settings = settings_of(self.graph, test, self.tests[test])
        return self.params(("mlquant.listening.stages:listening",), settings)

    def heard(self, test: str) -> list[str]:
        """Return the samples of a listening test."""
        return heard(self.config, self.tests[test])

    def folders(self) -> dict[str, tuple[str, str]]:
        """Return the kind and name of every experiment, study and sweep, by the folder of its results."""
        return {
            **{f"results/{name}_wav": ("experiment", name) for name in self.experiments},
            **{f"results/studies/{name}": ("study", name) for name in self.studies},
            **{f"results/sweeps/{name}": ("sweep", name) for name in self.sweeps},
        }

    def unknown_target(self, target: str, rules: Iterable[str]) -> str:
        """Return the line about a target that no rule makes; `rules` are the names of rules that are targets."""
        heard = [f"results/listening/{name}" for name in self.tests]
        heard += [f"results/codecs/{name}" for name in self.config.codecs]
        known = {name: name for name in (*rules, "results/report.html", *self.folders(), *heard)}
        for folder, node in self.nodes.items():
            if files := node.stage.files():
                known |= dict.fromkeys((folder, folder.rpartition(".")[0]), node.file(files[0]))
        within = target
        if os.path.isabs(target):
            within = os.path.relpath(os.path.realpath(target), os.path.realpath("."))
        if within.startswith("..") or within not in known:
            within = "results/" + target.rpartition("/results/")[2] if "/results/" in target else within
        holding = [folder for folder in known if within.startswith(f"{folder}/") and known[folder] == folder]
        if holding:
            return f"{target}: no rule makes this file by itself, expected the folder that it is in, {holding[0]}"
        if known.get(within) == within:
            return f"{target}: found {'an absolute' if os.path.isabs(target) else 'a longer'} path, expected {within}"
        # The name of an experiment alone means the experiment, not its listening test.
        heard = [name for name in heard if name.rpartition("/")[2] not in self.experiments]
        known |= {name.rpartition("/")[2]: name for name in (*self.folders(), *heard)}
        near = nearest_of(within, known)
        return f"{target}: no rule makes it, the nearest target is {known[near] if near else 'all_experiments'}"

    def needed_for(self, targets: list[str]) -> set[str]:
        """Return the folders of the nodes that targets are made from, and the targets.

        A target that is neither a folder nor a file of the plan may need everything: then all folders are returned.
        """
        files, known = [], self.folders()
        known |= {f"results/listening/{name}": ("listening", name) for name in self.tests}
        known |= {f"results/codecs/{name}": ("codec", name) for name in self.config.codecs}
        for target in targets:
            kind, name = known.get(target, (None, ""))
            if kind == "codec":
                files += self.codec(name)
            elif kind == "listening":
                files.append(self.experiments[self.tests[name].experiment].tables.file("provenance.json"))
            elif kind == "experiment":
                plan = self.experiments[name]
                files += [plan.tables.file("provenance.json"), *plan.curves]
            elif kind:
                summary = self.summary(kind, name)
                files += [*summary.files, *summary.anchors.values()]
            elif target.rpartition("/")[0] in self.nodes:
                files.append(target)
            else:
                return {*self.nodes, *known}
        return {*self.graph.behind(files), *targets}

    def codec(self, name: str) -> list[str]:
        """Return the files of a codec's folder."""
        node = self.graph.codec(name)
        return [node.file(file) for file in node.stage.files()]

    def summary(self, kind: str, name: str) -> Summary:
        """Return what a study or a sweep is made of."""
        return (self.studies if kind == "study" else self.sweeps)[name]

    def optional(self, samples: Collection[str]) -> dict[str, Node]:
        """Return the nodes that fetch the optional ones of some samples, by sample."""
        fetched = {name: self.graph.sample(name).optional for name in samples}
        return {name: node for name, node in fetched.items() if node}

    def origins(self, experiment: str, samples: list[str]) -> list[str]:
        """Return the files that the speech of some of an experiment's samples, and of its networks, came from."""
        plan = self.experiments[experiment]
        return records.origins(self.graph, [node for name in samples for node in plan.measured[name]])

    def test_samples(self) -> list[str]:
        """Every test sample of the configuration, by the SHA-256 of its file, or the path of a user's own."""
        named = [sample.sha256 for sample in self.config.samples.values() if sample.sha256]
        own = self.graph.own_inputs(node for node in self.nodes.values() if node.kind == "samples")
        return [*dict.fromkeys([*named, *own])]

    def manifests(self, node: Node) -> list[str]:
        """Return the manifests of all corpora behind a node."""
        behind = self.graph.behind([path for paths in node.inputs.values() for path in paths])
        return [corpus.file("manifest.csv") for corpus in behind.values() if corpus.kind == "corpora"]

    def sidecar(self, node: Node) -> str:
        """Return what the provenance.json of a network or codebook holds besides its settings, as one JSON text."""
        return records.sidecar(self.graph, node)

    def of_study(self, name: str, anchors: Collection[str] = ()) -> str:
        """Return what the folder of a study depends on besides files, as JSON text; `anchors` are of its samples."""
        return self._of_summary("study", name, {"anchors": [*anchors]} if anchors else {})

    def of_sweep(self, name: str) -> str:
        """Return what the folder of a sweep depends on besides files, as JSON text."""
        return self._of_summary("sweep", name, {})

    def _of_summary(self, kind: str, name: str, found: dict[str, Any]) -> str:
        record = record_of(self.config, kind, name, self.key_of(kind, name))
        return self.params(self._code_of(kind, name), self.summary(kind, name).settings | found | {"record": record})

    def _code_of(self, kind: str, name: str) -> tuple[str, ...]:
        """Return the functions whose code a study or sweep depends on; none are those of other studies."""
        studied = studies.computed_by(self.config.studies[name].kind) if kind == "study" else ()
        return (f"mlquant.studies.stages:{kind}", *studied)

    def key_of(self, kind: str, name: str) -> str:
        """Return the key that the folder of an experiment, study or sweep records if it is made as planned."""
        if kind == "experiment":
            return self.experiments[name].tables.key
        text = self.params(self._code_of(kind, name), self.summary(kind, name).settings)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def report(self, folders: Iterable[str]) -> str:
        """Return what the report of some folders takes, as one JSON text: how each would be made now.

        `key` is that of the folder as planned, None if the configuration has no such entry; `newer` is a user's own
        file that has changed since the folder was made, and `time` is when that was.
        """
        known, found = self.folders(), []
        for folder in folders:
            key = newer = None
            if folder in known:
                key = self.key_of(*known[folder])
                newer = self._newer(*known[folder], folder) if os.path.exists(folder) else None
            found.append({"folder": folder, "key": key, "newer": newer, "time": _time(folder)})
        of_studies = [path for folder in folders if os.path.exists(path := f"{folder}/settings.json")]
        reported = {read_json(path).get("settings", {}).get("kind") for path in of_studies} & {*studies.kinds()}
        code = [definition for kind in sorted(reported) for definition in studies.reported_by(kind)]
        return self.params(("mlquant.report.stages:report", *code), {"folders": found})

    def _newer(self, kind: str, name: str, folder: str) -> str | None:
        """Return a user's own file behind a folder that is newer than the folder, but not of the future; else None."""
        if kind == "experiment":
            files = [node.file("measured.json") for nodes in self.experiments[name].measured.values() for node in nodes]
        else:
            files = self.summary(kind, name).files
        own = [path for path in files if path.rpartition("/")[0] not in self.nodes]
        own += self.graph.own_inputs(self.graph.behind(files).values())
        made, now = os.path.getmtime(folder), time.time()
        return next((path for path in own if os.path.exists(path) and made < os.path.getmtime(path) <= now), None)

    def captions(self) -> dict[str, Any]:
        """Return what captions of `snakemake --report` show: the checked entries, and words that the code has."""
        entries = self.config.model_dump(mode="json", include={"experiments", "sweeps", "studies"})
        entries["listening"] = {name: test.model_dump(mode="json") for name, test in self.tests.items()}
        asked = {kind: (study.__doc__ or "").split("\n")[0] for kind, study in studies.kinds().items()}
        return entries | {"kinds": asked, "held_out_below": HELD_OUT_BELOW}


def _time(folder: str) -> str | None:
    """Return when a folder was made, in UTC; None for one that is not there yet."""
    if not os.path.exists(folder):
        return None
    return datetime.fromtimestamp(os.path.getmtime(folder), UTC).isoformat(sep=" ", timespec="milliseconds")
