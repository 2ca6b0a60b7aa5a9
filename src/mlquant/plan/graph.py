"""The plan that a configuration stands for: every stage with its settings, inputs and key.

Used by the Snakefile only. Stages come in the order of the graph: speech, models, features, networks, codebooks,
then what is made of each sample of each experiment. Of stages that are the same in all but their name there is
one, under the name that comes first.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mlquant.chains.settings import Output, RatedChain
from mlquant.core import keys
from mlquant.core.blocks import nearest
from mlquant.core.errors import InputError
from mlquant.experiments.settings import Experiment
from mlquant.networks.rows import latent_width
from mlquant.networks.settings import Network, NetworkSettings
from mlquant.plan.config import (
    AnalogStudy,
    BitsStudy,
    Config,
    DemoStudy,
    MbestStudy,
    UniformStudy,
    channel_networks,
    compared_quantisers,
    encoder_of,
    own_files,
)
from mlquant.quantisers.settings import VectorQuantiser
from mlquant.speech.settings import AS_IT_IS, Choice, Part, Source, Url, audio_files
from mlquant.vocoder.codec2 import MODES


@dataclass(frozen=True)
class Stage:
    """One run of a command: its folder is `results/<kind>/<name>.<key>`."""

    kind: str
    command: str
    name: str
    key: str
    settings: dict
    inputs: dict[str, list[str]]

    @property
    def folder(self) -> str:
        return f"results/{self.kind}/{self.name}.{self.key}"

    @property
    def params(self) -> str:
        return json.dumps(self.settings, sort_keys=True)

    def file(self, name: str) -> str:
        return f"{self.folder}/{name}"


_WITH_SIDECAR = {"networks": "weights.safetensors", "codebooks": "vq.f32"}  # what has a provenance.json, and its file
_HELD_OUT = NetworkSettings.model_fields["held_out"].default  # of each part, by quantisers of b
_NAMED = 50  # inputs of a stage that its record names one by one; it travels as one argument, 128 kB on Linux


@dataclass(frozen=True)
class ExperimentPlan:
    """What an experiment is made of.

    The stage of its tables; for each sample the stages that measure it, where an optional one comes from, and the
    latents that its page starts from; the loss curves of its networks, and what else its page shows of them.
    """

    tables: Stage
    measured: dict[str, list[Stage]]
    optional: dict[str, Stage]
    latents: dict[str, str]
    curves: list[str]
    shown: list[str]


@dataclass(frozen=True)
class Summary:
    """What a sweep's or a study's folder is made of: settings, paths among them, and all files that it takes."""

    settings: dict
    files: list[str]
    anchors: dict[str, str]  # of a study's samples, their measured anchors


class Plan:
    """All stages of a configuration, by folder, and the experiments, sweeps and studies made of them."""

    def __init__(self, config: Config):
        self.config = config
        self.stages: dict[str, Stage] = {}
        self._by_key: dict[tuple[str, str], Stage] = {}
        self._own = {path.stem: str(path) for path in reversed(own_files(config))}  # of two of a name, the first
        # Every network, and every quantised output of every sample, asks for these again.
        self._corpora: dict[tuple[str, bool], tuple[list[str], list[str]]] = {}
        self._trained: dict[tuple[str, int], list[str]] = {}
        self.networks: dict[str, Stage] = {}
        for name in config.networks:
            self._network(name)
        self.experiments = {name: self._experiment(name) for name in config.experiments}
        self.sweeps = {name: self._sweep(name) for name in config.sweeps}
        self.studies = {name: self._study(name) for name in config.studies}

    def __getitem__(self, folder: str) -> Stage:
        """The stage of a folder; InputError for one that the configuration does not make (any more)."""
        if folder not in self.stages:
            raise InputError(f"{folder}: nothing in the configuration makes it, {nearest(folder, self.stages)}")
        return self.stages[folder]

    def params(self, command: str, settings: dict) -> str:
        """What a folder that is not keyed depends on beside its files, as one JSON text."""
        return json.dumps({**settings, "code": keys.digest_of_code(command)}, sort_keys=True)

    def folders(self) -> dict[str, tuple[str, str]]:
        """Kind and name of every experiment, study and sweep, by the folder that it ends in."""
        return {
            **{f"results/{name}_wav": ("experiment", name) for name in self.experiments},
            **{f"results/studies/{name}": ("study", name) for name in self.studies},
            **{f"results/sweeps/{name}": ("sweep", name) for name in self.sweeps},
        }

    def needed_for(self, targets: list[str]) -> set[str]:
        """Folders of the stages that targets are made from; of all stages for a target that is not a folder or file."""
        files, known = [], self.folders()
        for target in targets:
            kind, name = known.get(target, (None, None))
            if kind == "experiment":
                plan = self.experiments[name]
                files += [plan.tables.file("provenance.json"), *plan.curves]
            elif kind:
                summary = (self.studies if kind == "study" else self.sweeps)[name]
                files += [*summary.files, *summary.anchors.values()]
            elif target.rpartition("/")[0] in self.stages:
                files.append(target)
            else:
                return {*self.stages, *known}
        return {*self.behind(files), *targets}

    def report(self, folders: list[str]) -> dict:
        """What the report of these folders is filled in with beside their tables: their settings."""
        known, entries, networks, quantisers = self.folders(), [], {}, {}
        blocks = {"experiment": self.config.experiments, "study": self.config.studies, "sweep": self.config.sweeps}
        for folder in folders:
            kind, name = known[folder]
            block = blocks[kind][name]
            is_experiment = isinstance(block, Experiment)
            users = [*(block.outputs if is_experiment else getattr(block, "chains", {})).values()]
            users = users if is_experiment else [block, *users]
            quantised = {user.quantiser for user in users if getattr(user, "quantiser", None)}
            used = [network for user in users for network in getattr(user, "networks", [])]
            used += [getattr(block, key) for key in ("network", "manifold") if hasattr(block, key)]
            used, quantised = self._with_starts(used, quantised)
            networks |= {network: self.config.networks[network].model_dump() for network in used}
            quantisers |= {quantiser: self.config.quantisers[quantiser].model_dump() for quantiser in quantised}
            if isinstance(block, AnalogStudy):  # one for each d and ratio, alike in all else
                place = next(channel_networks(name, block))[0]
                networks[f"studies.{name}"] = self.config.networks[place].model_dump(exclude={"d", "noise_var"})
                used.append(f"studies.{name}")
            entry = {"kind": kind, "name": name, "folder": folder, "settings": block.model_dump()}
            entries.append(entry | {"networks": [*dict.fromkeys(used)], "quantisers": sorted(quantised)})
        return {"entries": entries, "networks": networks, "quantisers": quantisers}

    def _with_starts(self, networks: list[str], quantisers: Collection[str]) -> tuple[list[str], set[str]]:
        """Networks and quantisers, with all that they are trained on."""
        networks, quantisers = [*networks], {*quantisers}
        networks += [network for name in sorted(quantisers) if (network := self.config.quantisers[name].network)]
        for name in networks:  # which grows
            network = self.config.networks[name]
            if network.start:
                quantisers.add(network.quantiser)
                networks += filter(None, (network.start, self.config.quantisers[network.quantiser].network))
        return [*dict.fromkeys(networks)], quantisers

    def _add(self, kind: str, command: str, name: str, settings: dict, inputs: dict[str, list[str]]) -> Stage:
        """Register a stage; one that is the same as an earlier one in all but its name is that one."""
        key = keys.stage_key(kind, command, settings, inputs)
        stage = self._by_key.setdefault((kind, key), Stage(kind, command, name, key, settings, inputs))
        return self.stages.setdefault(stage.folder, stage)

    # speech

    def _source(self, name: str, source: Source, optional: bool = False) -> Stage:
        kind = "optional_sources" if optional else "sources"
        return self._add(kind, "fetch", name, source.model_dump(exclude_defaults=True) | {"name": name}, {})

    def _sample(self, name: str) -> tuple[Stage, Stage | None]:
        """The stage that makes a sample's speech, and the one that fetches it when it is optional."""
        if own := self._own.get(name):
            return self._add("samples", "prepare-sample", name, {}, {"speech": [own]}), None
        sample = self.config.samples[name]
        if sample.source:
            archive = self._source(sample.source, self.config.sources[sample.source])
        elif sample.url:
            url = Url(url=sample.url, sha256=sample.sha256)
            archive = self._source(name, Source(urls=[url]), sample.optional)
        else:
            raise InputError(
                f"config: samples.{name}: has no source and no url, and there is no {self.config.speech_dir}/{name}.wav"
            )
        settings = {"member": sample.file or "*", "sha256": sample.sha256}
        speech = self._add("samples", "prepare-sample", name, settings, {"speech": [archive.file("speech.tar")]})
        return speech, archive if sample.optional else None

    def _features(self, name: str, speech: Stage) -> Stage:
        """Analysis and features of speech; the model is the features' input."""
        model = self._add("models", "analyse", name, {}, {"speech": [speech.file("speech.raw")]})
        settings = self.config.features.model_dump()
        return self._add("features", "features", name, settings, {"model": [model.file("model.bin")]})

    def _corpus(self, name: str, held_out: bool = False) -> tuple[list[str], list[str]]:
        """The b and the y files of a corpus, a pair for each part: of the voices to train on, or of those held out."""
        if (name, held_out) in self._corpora:
            return self._corpora[name, held_out]
        corpus = self.config.corpora[name]
        b, y = [], []
        for part_name, part in corpus.parts.items():
            if part.held_out != held_out and not part.speakers:
                continue
            if part.b:
                b.append(part.b)
                y += [part.y] if part.y else []
                continue
            try:
                speech = self._part(f"{name}_{part_name}", corpus.seed, part, held_out)
            except InputError as error:
                raise InputError(f"config: corpora.{name}.parts.{part_name}.{error}") from None
            features = [self._features(stage.name, stage) for stage in speech]
            b += [stage.file("b.f32") for stage in features]
            y += [stage.file("y.f32") for stage in features]
        self._corpora[name, held_out] = b, y
        return b, y

    def _part(self, label: str, seed: int, part: Part, held_out: bool) -> list[Stage]:
        """The stages that prepare a part's speech: one, or one for each shard of its files."""
        settings = {"seed": seed, **part.model_dump(include=set(Choice.model_fields))}
        if part.speakers and held_out:  # measured on as they are, whatever is trained on
            settings |= {"held_out": True, **AS_IT_IS}
            label += "_held_out"
        if part.source:
            archive = self._source(part.source, self.config.sources[part.source])
            return [self._add("corpora", "prepare-corpus", label, settings, {"speech": [archive.file("speech.tar")]})]
        files, shards = audio_files(part.files), part.shards
        if len(files) < shards:
            raise InputError(f"shards: found {shards}, expected at most {len(files)}, the files in {part.files}")
        settings["files"] = part.files
        if shards == 1:
            return [self._add("corpora", "prepare-corpus", label, settings, {"speech": files})]
        if part.minutes:
            settings["minutes"] = part.minutes / shards
        return [
            self._add(
                "corpora",
                "prepare-corpus",
                f"{label}_{shard + 1}",
                settings | {"shard": shard, "shards": shards},
                {"speech": files[shard::shards]},
            )
            for shard in range(shards)
        ]

    # networks and quantisers

    def _network(self, name: str) -> Stage:
        if name in self.networks:
            return self.networks[name]
        settings = self.config.networks[name]
        b, y = self._corpus(settings.corpus)
        inputs = {"features": b}
        if settings.row.target == "y":
            inputs["targets"] = y
        inputs |= self._held_out(settings)
        if settings.start:
            inputs |= self._start(settings, inputs)
        # A derived network is named by its place: sweeps.gamma.rows.g85 is gamma_g85.
        label = name if "." not in name else "_".join([name.split(".")[1], *name.split(".")[3:]])
        training = settings.model_dump(include={*NetworkSettings.model_fields})
        stage = self._add("networks", "train-on" if settings.start else "train", label, training, inputs)
        self.networks[name] = stage
        return stage

    def _start(self, settings: Network, inputs: dict[str, list[str]]) -> dict[str, list[str]]:
        """What a network that is trained on takes besides, or instead: weights, and quantised inputs or codebooks.

        A decoder takes quantised latents of every file that its encoder takes, any other network b_hat in place of b.
        """
        start = self._network(settings.start).file("weights.safetensors")
        if settings.vq_in_loop:
            return {"start": [start], "codebooks": self._codebooks(settings.quantiser, settings.stages)}
        quantiser, changed = self.config.quantisers[settings.quantiser], {"start": [start]}
        taken = "features" if settings.row.source == "b" else "targets"
        for prefix in ("", "held_out_"):
            for features in inputs.get(f"{prefix}{taken}", ()):
                made_by = self.stages.get(features.rpartition("/")[0])  # none of a user's own features
                name = made_by.name if made_by else "features"
                files = self._quantised(name, features, settings)
                if settings.row.encoder:
                    changed.setdefault(f"{prefix}latents", []).append(files["l_hat"])
                else:
                    hat = self._restored(name, quantiser.network, files["l_hat"], features)
                    changed.setdefault(f"{prefix}features", []).append(hat)
        return changed

    def _held_out(self, network: Network) -> dict[str, list[str]]:
        """Features of the voices that a network's corpus holds out, and their targets; nothing where it has none."""
        b, y = self._corpus(network.corpus, held_out=True)
        if not b:
            return {}
        return {"held_out_features": b, **({"held_out_targets": y} if network.row.target == "y" else {})}

    def _codebooks(self, name: str, stages: int | None) -> list[str]:
        """The codebook files of the first stages of a quantiser, or of all.

        Each is trained on the residual of the last; where survivors are told, on the residuals of all of those before.
        """
        quantiser = self.config.quantisers[name]
        stages = stages or len(quantiser.stages)
        if (name, stages) in self._trained:
            return self._trained[name, stages]
        train, codebooks = self._to_train_on(quantiser), []
        predicted = {"predictor": self._predictor(quantiser)}
        for i, stage in enumerate(quantiser.stages[:stages], 1):
            settings, inputs = {"k": self._width(quantiser), **stage.model_dump()}, {"train": [train]}
            if quantiser.kind != "lbg" and codebooks:
                settings["mbest"] = quantiser.mbest
                inputs["after"] = [*codebooks]
            if quantiser.kind == "predictive":
                settings["predict"] = None if predicted["predictor"] else quantiser.predict
                inputs |= predicted
            label = f"{name.removeprefix('studies.').replace('.', '_')}_{i}"
            codebook = self._add("codebooks", "vq-train", label, settings, inputs)
            codebooks.append(codebook.file("vq.f32"))
            train = train if quantiser.kind != "lbg" else codebook.file("residual.f32")
        self._trained[name, stages] = codebooks
        return codebooks

    def _to_train_on(self, quantiser: VectorQuantiser) -> str:
        """The vectors that a quantiser's codebooks are trained on, in pairs for prediction."""
        settings = {"thresh": quantiser.thresh}
        if quantiser.kind == "predictive":
            settings["pairs"] = self.config.send_every(quantiser)
        if quantiser.network is None:
            settings["held_out"] = _HELD_OUT
            inputs = {"features": self._corpus(quantiser.corpus)[0]}
            return self._add("shapes", "shapes", quantiser.corpus, settings, inputs).file("s.f32")
        network = self.config.networks[quantiser.network]
        weights = self._network(quantiser.network).file("weights.safetensors")
        settings["training_share"] = True
        inputs = {"weights": [weights], "features": self._corpus(network.corpus)[network.row.source == "y"]}
        return self._add("latents", "encode", network.corpus, settings, inputs).file("l.f32")

    def _predictor(self, quantiser: VectorQuantiser) -> list[str]:
        """The file of a quantiser's fitted coefficient; none where it is given or not needed."""
        if getattr(quantiser, "predict", None) != "fit":
            return []
        inputs, settings = {"pairs": [self._to_train_on(quantiser)]}, {"k": self._width(quantiser)}
        name = quantiser.network or quantiser.corpus
        return [self._add("predictors", "vq-predictor", name, settings, inputs).file("a.f32")]

    def _width(self, quantiser: VectorQuantiser) -> int:
        """Elements of a vector."""
        return latent_width(self.config.networks[quantiser.network].model_dump()) if quantiser.network else 20

    def _quantised(self, name: str, features: str, by: Network | Output) -> dict[str, str]:
        """Latents of features, or their shapes, before and after the quantiser of a network or an output."""
        quantiser = self.config.quantisers[by.quantiser]
        if quantiser.network:
            vectors = self._latents(name, quantiser.network, features)
        else:
            vectors = self._add("shapes", "shapes", name, {}, {"features": [features]}).file("s.f32")
        settings = {"k": self._width(quantiser), "mbest": by.mbest, "every": self.config.send_every(quantiser)}
        inputs = {"latents": [vectors], "codebooks": self._codebooks(by.quantiser, by.stages)}
        if quantiser.kind == "predictive":
            inputs["predictor"] = self._predictor(quantiser)
            settings["predict"] = None if inputs["predictor"] else quantiser.predict
            settings["stretch"] = quantiser.reset_every
        searched = self._add("quantised", "vq-search", f"{name}_{by.quantiser}", settings, inputs)
        return {"l": vectors, "l_hat": searched.file("l_hat.f32")}

    def _restored(self, name: str, network: str | None, vectors: str, features: str, y: str | None = None) -> str:
        """Features of latents of a network, with the energy of y where it makes y_hat; without one, of shapes."""
        if network is None:
            inputs = {"shapes": [vectors], "features": [features]}
            return self._add("restored", "from-shapes", name, {}, inputs).file("b_hat.f32")
        weights = self._network(network).file("weights.safetensors")
        inputs = {"weights": [weights], "latents": [vectors], "features": [features]}
        if self.config.networks[network].row.target == "y":
            inputs["energy"] = [y]
        return self._add("decoded", "decode", f"{name}_{self.networks[network].name}", {}, inputs).file("hat.f32")

    # what is made of a sample

    def _experiment(self, name: str) -> ExperimentPlan:
        experiment = self.config.experiments[name]
        measured, optional, latents = {}, {}, {}
        outputs = experiment.outputs.values()
        used = {self.networks[name].name: self.networks[name] for output in outputs for name in output.networks}
        bottleneck = self._bottleneck(experiment)
        for sample in experiment.samples:
            speech, fetched = self._sample(sample)
            features = self._features(sample, speech)
            references = self._references(sample, speech, features)
            rows = [self._output(sample, speech, features, *output) for output in experiment.outputs.items()]
            for row in rows if experiment.published else ():
                published = Path(experiment.published) / f"{sample}_{row['index']}_{row['tag']}.wav"
                row["files"] |= {"published": str(published)} if published.is_file() else {}
            if bottleneck:
                takes = features.file("b.f32" if self._takes_b(bottleneck["network"]) else "y.f32")
                latents[sample] = self._latents(sample, bottleneck["network"], takes)
            measured[sample] = [
                self._measure(f"{name}_{sample}", sample, references, rows, latents.get(sample)),
                self._measure(f"{sample}_anchors", sample, references, self._anchors(sample, speech, references)),
            ]
            if fetched:
                optional[sample] = fetched
        if experiment.published and not any(
            "published" in row["files"] for stages in measured.values() for row in stages[0].settings["rows"]
        ):
            raise InputError(
                f"config: experiments.{name}.published: {experiment.published} holds no wav of the experiment's, "
                f"expected <sample>_<index>_<tag>.wav"
            )
        codebooks = [Path(path).parent for output in outputs for path in self._output_codebooks(output)]
        settings = {
            **{"name": name, **experiment.model_dump(exclude={"in_all"}), "speech_dir": self.config.speech_dir},
            "outputs": [{"index": index, **output.model_dump()} for index, output in experiment.outputs.items()],
            "networks": {name: stage.folder for name, stage in used.items()},
            "codebooks": {folder.name.rsplit(".", 1)[0]: str(folder) for folder in codebooks},
            "bottleneck": bottleneck,
            "config": self._config_of(name),
        }
        inputs = {"measured": [stage.file("measured.json") for stages in measured.values() for stage in stages]}
        behind = self.behind(inputs["measured"])
        inputs["sidecars"] = [stage.file("provenance.json") for stage in behind.values() if stage.kind in _WITH_SIDECAR]
        settings["modules"] = keys.modules_of({stage.command for stage in behind.values()})
        tables = self._add("experiments", "tabulate", name, settings, inputs)
        curves = [
            self._add("figures", "plot-losses", name, {"title": name}, {"losses": [stage.file("losses.csv")]})
            for name, stage in used.items()
        ]
        shown = [f"{folder}/{file}" for folder in codebooks for file in ("vq.f32", "trace.csv")]
        files = ("weights.safetensors", "settings.json", "losses.csv")
        shown += [stage.file(file) for stage in used.values() for file in files]
        figures = [curve.file("losses.png") for curve in curves]
        return ExperimentPlan(tables, measured, optional, latents, figures, shown)

    def _config_of(self, name: str) -> dict:
        """The part of the configuration that an experiment is made by, as it is in force; its samples' aside."""
        config, experiment = self.config, self.config.experiments[name]
        quantised = [output for output in experiment.outputs.values() if output.quantiser]
        used = [network for output in experiment.outputs.values() for network in output.networks]
        networks, quantisers = self._with_starts(used, {output.quantiser for output in quantised})
        quantised += [config.networks[network] for network in networks if config.networks[network].quantiser]
        corpora = {config.networks[network].corpus for network in networks}
        corpora |= {config.quantisers[name].corpus for name in quantisers} - {None}
        sources = {part.source for corpus in corpora for part in config.corpora[corpus].parts.values()}
        sources |= {config.samples[sample].source for sample in experiment.samples if sample in config.samples}
        chosen = {"sources": sources - {None}, "corpora": corpora, "networks": networks, "quantisers": quantisers}
        entries = {
            kind: {entry: getattr(config, kind)[entry].model_dump(mode="json") for entry in sorted(names)}
            for kind, names in chosen.items()
        }
        for quantiser, entry in entries["quantisers"].items():
            users = [user for user in quantised if user.quantiser == quantiser]
            entry["stages"] = entry["stages"][: max(user.stages or len(entry["stages"]) for user in users)]
        # Of an output only what was set: not everything goes with everything.
        outputs = {
            str(index): output.model_dump(mode="json", exclude_unset=True)
            for index, output in experiment.outputs.items()
        }
        entries["experiments"] = {name: experiment.model_dump(mode="json", exclude={"in_all"}) | {"outputs": outputs}}
        own = {"speech_dir": config.speech_dir, "features": config.features.model_dump()}
        return {"complete": True, **own, **entries}

    def origins(self, experiment: str, samples: list[str]) -> list[str]:
        """What the speech of some of an experiment's samples, and of its networks, came from: own files, archives.

        And the manifest of each corpus, which tells what was taken of them.
        """
        files, plan = [], self.experiments[experiment]
        measured = [stage.file("measured.json") for name in samples for stage in plan.measured[name]]
        for stage in self.behind(measured).values():
            if stage.kind in ("sources", "optional_sources"):
                files += [stage.file("speech.tar"), stage.file("manifest.json")]
            elif stage.kind == "corpora":
                files.append(stage.file("manifest.csv"))
            elif stage.kind == "samples" and stage.inputs["speech"][0].rpartition("/")[0] not in self.stages:
                files += stage.inputs["speech"]
        return files

    def _references(self, sample: str, speech: Stage, features: Stage) -> dict[str, str]:
        """Files that a sample's outputs are measured against, and the true features behind them."""
        model, y = features.inputs["model"][0], features.file("y.f32")
        original = self._add("resynthesised", "resynth", sample, {}, {"model": [model]})
        ideal = self._speech(f"{sample}_ideal_y", model, y)
        return {
            **{"source": speech.file("speech.raw"), "model": model, "features": features.file("b.f32"), "y": y},
            **{"original": original.file("speech.wav"), "ideal_y": ideal},
        }

    def _anchors(self, sample: str, speech: Stage, references: dict[str, str]) -> list[dict]:
        """Rows of what outputs are judged by: the references made by the vocoder, and every mode of Codec 2."""
        coded = self._coded(sample, speech)
        wavs = {name: references[name] for name in ("original", "ideal_y")}
        wavs |= {mode: coded.file(f"{mode}.wav") for mode in MODES}
        rows = []
        for tag, wav in wavs.items():
            bits, frame_ms, late = MODES.get(tag, (None, None, 0))
            rows.append(_row(None, tag, bits, frame_ms, late, {"wav": wav}))
        return rows

    def _coded(self, sample: str, speech: Stage) -> Stage:
        """A sample coded by Codec 2 in all of its modes."""
        return self._add("anchors", "anchor", sample, {"modes": [*MODES]}, {"speech": [speech.file("speech.raw")]})

    def _measure(
        self, name: str, sample: str, references: dict[str, str], rows: list[dict], latents: str | None = None
    ) -> Stage:
        """Measures of outputs of one sample; its settings record every stage behind them.

        And `latents`, those that the experiment's page starts from.
        """
        files = sorted({*references.values(), *(path for row in rows for path in row["files"].values())})
        entry = self.config.samples.get(sample)
        settings = {
            **{"sample": sample, "sex": entry and entry.sex, "references": references, "rows": rows},
            # What is behind a network or codebook stands in the provenance beside it, once for all samples.
            "stages": _recorded(self.behind(files, besides=_WITH_SIDECAR)),
            "pesq": find_spec("pesq") is not None,
            "latents": latents,
            "entry": entry and entry.model_dump(mode="json"),
        }
        return self._add("measures", "measure", name, settings, {"files": files})

    def _bottleneck(self, experiment: Experiment) -> dict | None:
        """The network whose decoder runs in the page: of the quantised outputs, else the last with a bottleneck."""
        quantised = {index: output for index, output in experiment.outputs.items() if self._runs_in_page(output)}
        used = [network for output in experiment.outputs.values() for network in output.networks]
        network = next((name for name in reversed(used) if self.config.networks[name].d), None)
        if quantised:
            name = next(iter(quantised.values())).quantiser
            network = self.config.quantisers[name].network
            quantised = {index: output for index, output in quantised.items() if output.quantiser == name}
        if network is None:
            return None
        codebooks = [self._output_codebooks(output) for output in quantised.values()]
        return {
            "network": network,
            "weights": self.networks[network].file("weights.safetensors"),
            "codebooks": max(codebooks, key=len, default=[]),
            "choices": [
                {"index": index, "tag": output.tag, "stages": len(paths), "mbest": output.mbest}
                for (index, output), paths in zip(quantised.items(), codebooks, strict=True)
            ],
        }

    def _runs_in_page(self, output: Output) -> bool:
        """Whether an output is quantised frame by frame by the latents of one of its networks."""
        quantiser = self.config.quantisers.get(output.quantiser)
        return quantiser is not None and self.config.is_memoryless(quantiser) and quantiser.network in output.networks

    def _takes_b(self, network: str) -> bool:
        return self.config.networks[network].row.source == "b"

    def behind(self, files: list[str], besides: Collection[str] = ()) -> dict[str, Stage]:
        """Every stage that the files come from, by folder, sorted; without those of some kinds and what is behind them.

        Files that no stage makes have none.
        """
        found: dict[str, Stage] = {}
        pending = list(files)
        while pending:
            folder = pending.pop().rpartition("/")[0]
            stage = self.stages.get(folder)
            if stage and folder not in found and stage.kind not in besides:
                found[folder] = stage
                pending += [path for paths in stage.inputs.values() for path in paths]
        return dict(sorted(found.items()))

    def record(self, stage: Stage) -> str:
        """What the provenance beside a network or codebook tells beside its settings, as one JSON text."""
        files = [path for paths in stage.inputs.values() for path in paths]
        stages = {stage.folder: stage, **self.behind(files, besides=_WITH_SIDECAR)}
        record = {
            "command": f"snakemake {stage.file(_WITH_SIDECAR[stage.kind])}",
            "stages": _recorded(stages),
            "modules": keys.modules_of({stage.command}),
        }
        return json.dumps(record, sort_keys=True)

    def _output(self, sample: str, speech: Stage, features: Stage, index: int, output: Output) -> dict:
        """One output of one sample: its index, tag, bit rate, and the files to measure it by."""
        model = features.inputs["model"][0]
        files: dict[str, str] = {}
        bits, frame_ms, late = None, None, 0
        quantiser = self.config.quantisers.get(output.quantiser)
        if output.process == "original":
            wav = self._add("resynthesised", "resynth", sample, {}, {"model": [model]}).file("speech.wav")
        elif output.process == "codec2":
            wav = self._coded(sample, speech).file(f"{output.mode}.wav")
            bits, frame_ms, late = MODES[output.mode]
        else:
            b, y = features.file("b.f32"), features.file("y.f32")
            hat = b if output.networks and self._takes_b(output.networks[0]) else y
            if quantiser:
                stages = quantiser.stages[: output.stages]
                bits = sum(stage.size.bit_length() - 1 for stage in stages)
                frame_ms = self.config.send_every(quantiser) * self.config.vector_ms(quantiser)
            if quantiser and quantiser.network is None:
                files |= self._quantised(sample, hat, output)
                hat = self._restored(sample, None, files["l_hat"], hat)
                files |= {"b": b, "b_hat": hat}
            for network in output.networks:
                if quantiser and encoder_of(self.config, network) == quantiser.network:
                    files |= self._quantised(sample, hat, output)
                    hat = self._restored(sample, network, files["l_hat"], hat, y)
                else:
                    hat = self._inferred(sample, network, hat, features, output)
                if self.config.networks[network].row.target == "b":
                    files |= {"b": b, "b_hat": hat}
            files |= {"y": features.file("y.f32"), "y_hat": hat}
            wav = self._speech(sample, model, hat, output.postfilter)
        interval = quantiser and quantiser.interval_ms
        return _row(index, output.tag, bits, frame_ms, late, {"wav": wav, **files}) | {"interval_ms": interval}

    def _speech(self, name: str, model: str, y_hat: str, expand: float = 1.0) -> str:
        """Speech of y_hat."""
        inputs = {"model": [model], "y_hat": [y_hat]}
        return self._add("synthesised", "synth", name, {"expand": expand}, inputs).file("speech.wav")

    def _inferred(self, sample: str, network: str, hat: str, features: Stage, output: Output) -> str:
        """Features straight through a network."""
        inputs = {"weights": [self.networks[network].file("weights.safetensors")], "features": [hat]}
        if self.config.networks[network].row.target == "y":
            inputs["energy"] = [features.file("y.f32")]
        noisy = output.noise_var and self.config.networks[network].d
        settings = output.model_dump(include={"noise_var", "seed"}) if noisy else {}
        name = f"{sample}_{self.networks[network].name}"
        return self._add("inferred", "infer", name, settings, inputs).file("hat.f32")

    def _latents(self, sample: str, network: str, features: str) -> str:
        """Latents of a sample's features."""
        trained = self._network(network)
        inputs = {"weights": [trained.file("weights.safetensors")], "features": [features]}
        return self._add("latents", "encode", f"{sample}_{trained.name}", {}, inputs).file("l.f32")

    def _output_codebooks(self, output: Output) -> list[str]:
        """The codebooks that an output is quantised with; none when it is not."""
        if output.quantiser is None:
            return []
        return self._codebooks(output.quantiser, output.stages)

    # what compares networks and quantisers

    def _sweep(self, name: str) -> Summary:
        """The networks of a sweep, a variant each, labelled with what their rows change."""
        sweep, variants = self.config.sweeps[name], []
        for network, settings in self.config.networks.items():
            if not network.startswith(f"sweeps.{name}.rows."):
                continue
            row, *seed = network.split(".")[3:]
            changes = [f"{key} {value}" for key, value in sweep.rows[row].items()] + seed
            label = f"{row}: {', '.join(changes)}" if changes else row
            variant = {"variant": "_".join([row, *seed]), "label": label, "folder": self.networks[network].folder}
            variants.append(variant | {"settings": settings.model_dump()})
        files = [f"{variant['folder']}/{file}" for variant in variants for file in ("losses.csv", "training.json")]
        return Summary({"name": name, "title": sweep.title, "variants": variants}, files, {})

    def _study(self, name: str) -> Summary:
        """What a study looks at: its settings with the paths of networks, codebooks and speech put in."""
        study = self.config.studies[name]
        if isinstance(study, BitsStudy):
            return self._study_of_bits(name, study)
        quantiser = self.config.quantisers.get(getattr(study, "quantiser", None))
        network = quantiser.network if quantiser else study.network
        trained = self.config.networks[network]
        weights = self.networks[network].file("weights.safetensors")
        b, y = self._corpus(trained.corpus)
        files = {"weights": weights, "features": b, "targets": y if trained.row.target == "y" else []}
        files |= self._held_out(trained)
        if quantiser:
            stages = study.stages if isinstance(study, AnalogStudy) else len(quantiser.stages)
            files["codebooks"] = self._codebooks(study.quantiser, stages)
            files["traces"] = [str(Path(path).with_name("trace.csv")) for path in files["codebooks"]]
        if sample := getattr(study, "sample", None):
            features = self._features(sample, self._sample(sample)[0])
            files |= {"b": features.file("b.f32"), "y": features.file("y.f32"), "model": features.inputs["model"][0]}
        if isinstance(study, DemoStudy):
            files = {"weights": weights, "losses": self.networks[network].file("losses.csv"), "features": [files["b"]]}
        if isinstance(study, AnalogStudy):
            files["quantiser"] = {"weights": weights, "codebooks": files.pop("codebooks"), "mbest": study.mbest}
            files["manifold"] = self.networks[study.manifold].file("weights.safetensors")
            files["networks"] = [
                {"d": d, "snr_dB": snr, "weights": self.networks[place].file("weights.safetensors")}
                for place, d, snr in channel_networks(name, study)
            ]
        settings = {"frame_ms": 10 * trained.ncat, **study.model_dump(exclude={"base"}), **files}
        if isinstance(study, UniformStudy | MbestStudy):
            settings["thresh"] = quantiser.thresh
        return Summary({**settings, "name": name}, _paths(files), {})

    def _study_of_bits(self, name: str, study: BitsStudy) -> Summary:
        """A study's chains, each rated by itself, and the anchors of its samples."""
        rows, told, anchors, of_samples = [], [], {}, {}
        for sample in study.samples:
            speech, _ = self._sample(sample)
            features = self._features(sample, speech)
            references = self._references(sample, speech, features)
            rated = self._measure(f"{sample}_anchors", sample, references, self._anchors(sample, speech, references))
            anchors[sample] = rated.file("measured.json")
            files = {"speech": references["source"], "model": references["model"]}
            of_samples[sample] = {**files, "b": references["features"], "y": references["y"]}
        for place, source, _, ms, _ in compared_quantisers(name, study):
            quantiser = self.config.quantisers[place]  # which has no more entries than max_entries allows
            size = quantiser.stages[0].size
            if (row := {"source": source, "kind": quantiser.kind, "sizes": str(size), "interval_ms": ms}) in told:
                continue
            told.append(row)
            networks = [study.network, study.manifold] if source == "latents" else [study.manifold]
            stages = [*range(1, len(quantiser.stages) + 1)]
            chain = RatedChain(networks=networks, quantiser=place, stages=stages, mbest=study.mbest)
            rows.append(row | {"file": self._rated(study, chain, of_samples)})
        for label, chain in study.chains.items():
            quantiser = self.config.quantisers[chain.quantiser]
            ms = self.config.send_every(quantiser) * self.config.vector_ms(quantiser)
            sizes = "/".join(dict.fromkeys(str(stage.size) for stage in quantiser.stages[: max(chain.stages)]))
            row = {"source": label, "kind": quantiser.kind, "sizes": sizes, "interval_ms": ms}
            rows.append(row | {"file": self._rated(study, chain, of_samples)})
        files = [row["file"] for row in rows]
        return Summary({"kind": "bits", "name": name, "rows": rows}, files, anchors)

    def _rated(self, study: BitsStudy, chain: RatedChain, samples: dict[str, dict[str, str]]) -> str:
        """The rates file of a chain."""
        quantiser = self.config.quantisers[chain.quantiser]
        encoder = quantiser.network
        used = self._with_starts(chain.networks, [chain.quantiser])[0]
        quantised = [i for i, name in enumerate(chain.networks) if encoder_of(self.config, name) == encoder]
        weights = [self.networks[name].file("weights.safetensors") for name in chain.networks]
        trained = {
            "networks": weights,
            "encoder": encoder and self.networks[encoder].file("weights.safetensors"),
            "codebooks": self._codebooks(chain.quantiser, max(chain.stages)),
            "predict": (self._predictor(quantiser) or [getattr(quantiser, "predict", None)])[0],
        }
        b, y = self._corpus(study.corpus)
        others_b, others_y = self._corpus(study.corpus, held_out=True)
        corpus = {"features": b, "targets": y, "held_out_features": others_b, "held_out_targets": others_y}
        settings = {
            **trained,
            **corpus,
            "quantised": quantised[0] if quantised else None,
            "stages": chain.stages,
            "mbest": chain.mbest,
            "every": self.config.send_every(quantiser),
            "stretch": getattr(quantiser, "reset_every", None),
            "expand": chain.postfilter,
            "interval_ms": self.config.send_every(quantiser) * self.config.vector_ms(quantiser),
            # What none of them was trained on.
            "held_out": min(_HELD_OUT, *(self.config.networks[name].held_out for name in used)),
            "thresh": study.thresh,
            "seconds": study.seconds,
            "samples": samples,
            "pesq": find_spec("pesq") is not None,
        }
        inputs = {"trained": [path for path in _paths(trained) if path.startswith("results/")]}
        inputs |= corpus | {f"sample_{name}": [*files.values()] for name, files in samples.items()}
        label = chain.quantiser.removeprefix("studies.").replace(".", "_")
        return self._add("rates", "rate", label, settings, inputs).file("rates.csv")

    def optional(self, samples: Collection[str]) -> dict[str, Stage]:
        """Where the optional ones of some samples come from."""
        fetched = {name: self._sample(name)[1] for name in samples}
        return {name: stage for name, stage in fetched.items() if stage}


def _row(index: int | None, tag: str, bits: int | None, frame_ms: int | None, late: int, files: dict) -> dict:
    """What `measure` takes of an output; `late` are samples of delay beyond the vocoder's."""
    return {
        **{"index": index, "tag": tag, "bits_per_frame": bits, "frame_ms": frame_ms, "late": late},
        "files": files,
    }


def _recorded(stages: dict[str, Stage]) -> dict[str, dict]:
    """What a provenance tells of stages."""
    return {
        folder: {
            **{"key": stage.key, "command": stage.command, "settings": stage.settings},
            # Of a corpus of many own files the manifest beside it lists each, with its checksum.
            "inputs": {
                name: paths if len(paths) <= _NAMED else f"{len(paths)} files, from {paths[0]} to {paths[-1]}"
                for name, paths in stage.inputs.items()
            },
        }
        for folder, stage in stages.items()
    }


def _paths(value: object) -> list[str]:
    """All texts in nested dicts and lists: the paths among a study's settings."""
    if isinstance(value, str):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return list(dict.fromkeys(path for item in items for path in _paths(item)))
