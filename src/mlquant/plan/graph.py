"""The graph: what is made of what, from speech to measures, in the order in which it is made.

A node is one run of a stage's command: its folder is `results/<folder>/<name>.<key>`. Nodes that are the same in all
but their names are one node, under the name that comes first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mlquant.chains import steps
from mlquant.chains.steps import Made
from mlquant.codecs import stages as codecs
from mlquant.codecs.settings import Coding
from mlquant.core import keys
from mlquant.core.blocks import nearest
from mlquant.core.errors import InputError
from mlquant.core.stage import Stage, stage_of
from mlquant.measures import stages as measures
from mlquant.networks import stages as networks
from mlquant.networks.rows import latent_width
from mlquant.networks.settings import NetworkSettings
from mlquant.plan.config import own_files
from mlquant.plan.records import WITH_SIDECAR, recorded
from mlquant.quantisers import stages as quantisers
from mlquant.quantisers.settings import OfSuperframes, Superframe
from mlquant.speech import stages as speech
from mlquant.speech.settings import (
    AS_IT_IS,
    Choice,
    Clips,
    SeededChoice,
    Source,
    Url,
    audio_files,
    of_shard,
    own_tables,
    prefix_of,
)
from mlquant.studies import stages as studies
from mlquant.studies.shared import paths_in
from mlquant.vocoder import stages as vocoder
from mlquant.vocoder.types import MODES

if TYPE_CHECKING:
    from mlquant.chains.settings import Chain, Output
    from mlquant.codecs.settings import Codec
    from mlquant.core.types import SlowMeasure
    from mlquant.plan.config import Config

HELD_OUT = NetworkSettings.model_fields["held_out"].default
"""Share of each part of a corpus that quantisers of b are not trained on."""


@dataclass(frozen=True)
class Node:
    """One run of a stage, with all its settings, and its inputs by the names of the stage's parameters."""

    stage: Stage
    kind: str
    name: str
    key: str
    settings: dict[str, Any]
    inputs: dict[str, list[str]]

    @property
    def folder(self) -> str:
        return f"results/{self.kind}/{self.name}.{self.key}"

    @property
    def command(self) -> str:
        return self.stage.command

    def file(self, name: str) -> str:
        return f"{self.folder}/{name}"


@dataclass(frozen=True)
class Shard:
    """The paths of a shard of a test set: its speech, its table of utterances, its model and its features.

    `slow` are the slow measures that are computed on it.
    """

    name: str
    speech: str
    utterances: str
    model: str
    b: str
    y: str
    slow: tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """The paths of a sample's speech, of its model and of its features, which every output is made from.

    `optional` is the node that fetches the speech, if the sample may be left out.
    """

    name: str
    speech: str
    model: str
    b: str
    y: str
    optional: Node | None


class Graph:
    """All nodes of a configuration, by folder.

    A method adds the nodes of what it is named for, unless they are there, and returns the last of them or its files.
    """

    def __init__(self, config: Config):
        self.config = config
        self.nodes: dict[str, Node] = {}
        self.networks: dict[str, Node] = {}
        self._by_key: dict[tuple[str, str], Node] = {}
        self._own = {path.stem: str(path) for path in reversed(own_files(config))}
        # These are kept because every network, and every quantised output of every sample, asks for them again.
        self._corpora: dict[tuple[str, bool], tuple[list[str], list[str]]] = {}
        self._codebooks: dict[tuple[str, int], list[str]] = {}
        self._samples: dict[str, Sample] = {}
        self._sets: dict[str, list[Shard]] = {}

    def __getitem__(self, folder: str) -> Node:
        """The node of a folder; InputError for one that the configuration does not make (any more)."""
        if folder not in self.nodes:
            raise InputError(f"{folder}: nothing in the configuration makes it, {nearest(folder, self.nodes)}")
        return self.nodes[folder]

    def add(
        self,
        function: Callable,
        name: str,
        settings: Mapping[str, Any] | None = None,
        counted: Mapping[str, Any] | None = None,
        /,
        **inputs: Sequence[str] | str,
    ) -> Node:
        """Add a node and return it; if an earlier node is the same in all but its name, return that one.

        `counted` is given for a stage that takes all settings as one JSON text: those of them that the key counts,
        which leaves out the ones at their neutral value and the ones that only record something.
        """
        stage = stage_of(function)
        return self._add(stage, str(stage.folder), name, settings or {}, inputs, counted)

    def _add(
        self, stage: Stage, kind: str, name: str, settings: Mapping, inputs: Mapping, counted: Mapping | None = None
    ) -> Node:
        taken = {name: [paths] if isinstance(paths, str) else [*paths] for name, paths in inputs.items()}
        taken = {name: paths for name, paths in taken.items() if paths}
        stage.check_inputs(taken)
        filled = stage.filled(settings)
        if counted is None:
            counted = keys.without_neutral(filled, stage.neutral)
        key = keys.stage_key(kind, counted, taken, keys.digest((stage.entry,)))
        node = self._by_key.setdefault((kind, key), Node(stage, kind, name, key, filled, taken))
        return self.nodes.setdefault(node.folder, node)

    # speech

    def source(self, name: str, source: Source, optional: bool = False) -> Node:
        """The node that fetches a source. An optional source is of another kind, because it may give nothing."""
        settings = source.model_dump(exclude_defaults=True) | {"name": name}
        if tables := {*source.tables, *self._tables_of(name)}:
            settings["tables"] = sorted(tables)
        return self._add(stage_of(speech.fetch), "optional_sources" if optional else "sources", name, settings, {})

    def _tables_of(self, source: str) -> list[str]:
        """The tables, by globs, that test sets take from a source."""
        parts = [part for entry in self.config.test_sets.values() for part in entry.parts.values()]
        named = [table for part in parts if part.source == source for table in part.tables()]
        return [table for table in named if not own_tables(table, None)]

    def sample(self, name: str) -> Sample:
        """A sample's speech, its model and its features."""
        if name not in self._samples:
            raw, optional = self._speech_of(name)
            features = self.features(name, raw)
            model, b, y = features.inputs["model"][0], features.file("b.f32"), features.file("y.f32")
            self._samples[name] = Sample(name, raw.file("speech.raw"), model, b, y, optional)
        return self._samples[name]

    def _speech_of(self, name: str) -> tuple[Node, Node | None]:
        """The node that makes a sample's speech, and the one that fetches it when it is optional."""
        if own := self._own.get(name):
            return self.add(speech.prepare_sample, name, speech=own), None
        sample = self.config.samples[name]
        if sample.source:
            archive = self.source(sample.source, self.config.sources[sample.source])
        elif sample.url:
            url = Url(url=sample.url, sha256=sample.sha256)
            archive = self.source(name, Source(urls=[url]), sample.optional)
        else:
            raise InputError(
                f"config: samples.{name}: has no source and no url, and there is no {self.config.speech_dir}/{name}.wav"
            )
        settings = {"member": sample.file or "*", "sha256": sample.sha256}
        raw = self.add(speech.prepare_sample, name, settings, speech=archive.file("speech.tar"))
        return raw, archive if sample.optional else None

    def test_set(self, name: str) -> list[Shard]:
        """The shards of a test set, with their features."""
        if name not in self._sets:
            slow = self.config.test_sets[name].measures
            self._sets[name] = [self._shard(node, slow) for node in self._prepared_set(name)]
        return self._sets[name]

    def _prepared_set(self, name: str) -> list[Node]:
        """The nodes that prepare the utterances of a test set, one for each shard."""
        entry = self.config.test_sets[name]
        parts, archives, tables, own = {}, [], [], {}
        for part_name, part in entry.parts.items():
            clips = part.model_dump(include=set(Clips.model_fields))
            parts[part_name] = keys.without_neutral(clips, keys.neutral_of(Clips))
            if part.source:
                archive = self.source(part.source, self.config.sources[part.source]).file("speech.tar")
                parts[part_name]["archive"] = archive
                archives.append(archive)
            else:
                parts[part_name]["files"] = part.files
                own[part_name] = audio_files(str(part.files))
            tables += [path for table in part.tables() for path in own_tables(table, part.files)]
        nodes = []
        for shard in range(entry.shards):
            settings = {"seed": entry.seed, "shard": shard, "shards": entry.shards, "parts": parts}
            files = list(dict.fromkeys(tables))
            for part_name, paths in own.items():
                part = entry.parts[part_name]
                prefix = prefix_of(part_name, part, len(parts))
                files += of_shard(paths, part, entry.seed, shard, entry.shards, prefix)
            speech_of = {"speech": list(dict.fromkeys(archives)), "own": files}
            nodes.append(self.add(speech.prepare_set, f"{name}_{shard + 1}", settings, settings, **speech_of))
        return nodes

    def _shard(self, prepared: Node, slow: list[SlowMeasure]) -> Shard:
        speech, utterances = prepared.file("speech.raw"), prepared.file("utterances.csv")
        features = self.config.features.model_dump()
        made = self.add(vocoder.analyse_set, prepared.name, features, speech=speech, utterances=utterances)
        model, b, y = (made.file(file) for file in ("model.bin", "b.f32", "y.f32"))
        return Shard(prepared.name, speech, utterances, model, b, y, (*slow,))

    def set_measures(
        self, shard: Shard, output: Output, condition: str = "", changes: Mapping[str, Any] | None = None
    ) -> Node:
        """The measures of an output on a shard of a test set, in a condition: with changes of its coding."""
        coding: dict[str, Any] = {"process": output.process}
        if output.process == "codec2":
            coding |= {"mode": output.mode, "delay": _row(None, "", {}, *MODES[str(output.mode)])["delay"]}
        if output.process == "codec":
            coding["codec"] = self.codec(str(output.codec)).file("codec.json")
        if output.process == "vocoder":
            coding["steps"] = self.stated(output)
        label = f"{output.tag}_{condition}" if changes else output.tag
        return self._coded_set(shard, label, coding | {**(changes or {})})

    def set_in_noise(self, shard: Shard, snr_dB: float) -> Node:
        """The measures of a shard's own speech with white noise, which nothing codes."""
        return self._coded_set(shard, f"noise_{snr_dB:g}dB", {"process": "noise", "snr_dB": snr_dB})

    def _coded_set(self, shard: Shard, label: str, coding: dict[str, Any]) -> Node:
        """The measures of a shard whose utterances are coded as `measures.settings.Coding` says."""
        coding |= {"measures": [*shard.slow]} if shard.slow else {}
        files = {name: getattr(shard, name) for name in ("speech", "utterances", "model", "b", "y")}
        trained = [path for path in paths_in(coding) if path.startswith("results/")]
        name = re.sub("[^A-Za-z0-9_-]", "_", f"{shard.name}_{label}")  # a tag, and a number, may hold a point
        return self.add(measures.measure_set, name, coding, coding, trained=trained, **files)

    def corpus(self, name: str, held_out: bool = False) -> tuple[list[str], list[str]]:
        """The b and the y files of a corpus, a pair for each part: of the voices to train on, or of those held out."""
        if (name, held_out) in self._corpora:
            return self._corpora[name, held_out]
        corpus = self.config.corpora[name]
        b, y = [], []
        for part_name, part in corpus.parts.items():
            if part.held_out != held_out and not part.held_out_speakers:
                continue
            if part.b:
                b.append(part.b)
                y += [part.y] if part.y else []
                continue
            try:
                prepared = self._part(f"{name}_{part_name}", corpus.seed, part, held_out)
            except InputError as error:
                raise InputError(f"config: corpora.{name}.parts.{part_name}.{error}") from None
            made = [self.features(node.name, node) for node in prepared]
            b += [node.file("b.f32") for node in made]
            y += [node.file("y.f32") for node in made]
        self._corpora[name, held_out] = b, y
        return b, y

    def _part(self, label: str, seed: int, part: Any, held_out: bool) -> list[Node]:
        """The nodes that prepare a part's speech: one, or one for each shard of its files."""
        settings = {"seed": seed, **part.model_dump(include=set(Choice.model_fields))}
        if part.held_out_speakers and held_out:  # measured on as they are, whatever is trained on
            settings |= {"held_out": True, **AS_IT_IS}
            label += "_held_out"
        if part.source:
            archive = self.source(part.source, self.config.sources[part.source])
            return [self._prepared(label, settings, speech=archive.file("speech.tar"))]
        files, shards = audio_files(part.files), part.shards
        if len(files) < shards:
            raise InputError(f"shards: found {shards}, expected at most {len(files)}, the files in {part.files}")
        settings["files"] = part.files
        if shards == 1:
            return [self._prepared(label, settings, own=files)]
        if part.minutes:
            settings["minutes"] = part.minutes / shards
        numbered = [settings | {"shard": shard, "shards": shards} for shard in range(shards)]
        return [
            self._prepared(f"{label}_{shard + 1}", of_it, own=files[shard::shards])
            for shard, of_it in enumerate(numbered)
        ]

    def _prepared(self, label: str, settings: dict[str, Any], **inputs: Sequence[str] | str) -> Node:
        """Training speech, chosen and prepared."""
        counted = keys.without_neutral(settings, keys.neutral_of(SeededChoice))
        return self.add(speech.prepare_corpus, label, settings, counted, **inputs)

    # features

    def features(self, name: str, prepared: Node) -> Node:
        """Analysis and features of speech; the model is the features' input."""
        model = self.add(vocoder.analyse, name, speech=prepared.file("speech.raw"))
        return self.add(vocoder.features, name, self.config.features.model_dump(), model=model.file("model.bin"))

    # networks

    def network(self, name: str) -> Node:
        """A trained network."""
        if name in self.networks:
            return self.networks[name]
        block = self.config.networks[name]
        b, y = self.corpus(block.corpus)
        others_b, others_y = self.corpus(block.corpus, held_out=True)
        makes_y = block.row.target == "y"
        inputs: dict[str, Sequence[str] | str] = {
            "features": b,
            "targets": y if makes_y else [],
            "held_out_features": others_b,
            "held_out_targets": others_y if makes_y and others_b else [],
        }
        # A derived network is named by its place: sweeps.gamma.rows.g85 is gamma_g85.
        label = name if "." not in name else "_".join([name.split(".")[1], *name.split(".")[3:]])
        settings = block.model_dump(include={*NetworkSettings.model_fields})
        function: Callable = networks.train
        given = inputs
        if block.initial:
            function, given = quantisers.train_on, inputs | self._trained_on(block, inputs)
        counted = keys.without_neutral(settings, keys.neutral_of(NetworkSettings))
        self.networks[name] = self.add(function, label, settings, counted, **given)
        return self.networks[name]

    def weights(self, name: str) -> str:
        """The weights of a trained network."""
        return self.network(name).file("weights.safetensors")

    def maker(self, path: str) -> Node:
        """The node that makes a file."""
        return self[path.rpartition("/")[0]]

    def _trained_on(self, block: Any, inputs: Mapping[str, Sequence[str] | str]) -> dict[str, Sequence[str] | str]:
        """The further inputs of a network that is trained on from another: weights, and quantised inputs or codebooks.

        A decoder takes quantised latents of every file that its encoder takes, any other network b_hat in place of b.
        """
        initial = self.weights(block.initial)
        if block.vq_in_loop:
            return {"initial": initial, "codebooks": self.codebooks(block.quantiser, block.stages)}
        through = steps.quantised(self, block)
        changed: dict[str, list[str]] = {}
        given = "features" if block.row.source == "b" else "targets"
        for prefix in ("", "held_out_"):
            for features in inputs[f"{prefix}{given}"]:
                made_by = self.nodes.get(features.rpartition("/")[0])  # None: no node makes a user's own features
                made = Made(features, name=made_by.name if made_by else "features")
                if block.row.encoder:
                    hat = self.made(through[:2], made).quantised
                    changed.setdefault(f"{prefix}latents", []).append(hat)
                else:
                    hat = self.made(through, made).b_hat
                    changed.setdefault(f"{prefix}features", []).append(hat)
        return {"initial": initial, **changed}

    # quantisers

    def codebooks(self, name: str, stages: int | None) -> list[str]:
        """The codebook files of the first stages of a quantiser, or of all.

        A stage is trained on the residual of the stage before it, or on those of all survivors where there are several.
        """
        quantiser = self.config.quantisers[name]
        stages = stages or len(quantiser.stages)
        if (name, stages) in self._codebooks:
            return self._codebooks[name, stages]
        train, codebooks = self._to_train_on(quantiser), list[str]()
        functions = [getattr(quantisers, command) for command in quantiser.commands]
        predicted, inputs = self._prediction(quantiser)
        for i, one in enumerate(quantiser.stages[:stages], 1):
            function = functions[bool(codebooks)]
            known = stage_of(function)
            own = {name: getattr(quantiser, name) for name in known.settings if name in type(quantiser).model_fields}
            settings = own | {"k": self._width(quantiser), "m": one.size, "stop": one.stop, "seed": one.seed}
            settings["predict"] = predicted.get("predict")
            after = {"after": [*codebooks]} if "after" in known.inputs else {}
            label = f"{name.removeprefix('studies.').replace('.', '_')}_{i}"
            codebook = self.add(function, label, settings, train=train, **after, **inputs)
            codebooks.append(codebook.file("vq.f32"))
            # What is trained with the codebooks before takes the vectors themselves, the others what is left of them.
            train = train if "after" in stage_of(functions[1]).inputs else codebook.file("residual.f32")
        self._codebooks[name, stages] = codebooks
        return codebooks

    def _to_train_on(self, quantiser: Any) -> str:
        """The vectors that a quantiser's codebooks are trained on, in pairs for prediction."""
        settings: dict[str, Any] = {"thresh": quantiser.thresh}
        if quantiser.kind == "predictive":
            settings["pairs"] = self.config.send_every(quantiser)
        if quantiser.network is None:
            settings["held_out"] = HELD_OUT
            features = self.corpus(quantiser.corpus)[0]
            return self.add(quantisers.remove_gain, quantiser.corpus, settings, features=features).file("shape.f32")
        network = self.config.networks[quantiser.network]
        weights = self.weights(quantiser.network)
        settings["training_share"] = True
        features = self.corpus(network.corpus)[network.row.source == "y"]
        node = self.add(networks.encode, network.corpus, settings, weights=weights, features=features)
        return node.file("l.f32")

    def _prediction(self, quantiser: Any) -> tuple[dict[str, Any], dict[str, str]]:
        """Settings and inputs of prediction: the given coefficient, or the file of a fitted one."""
        if quantiser.kind != "predictive":
            return {}, {}
        if quantiser.predict != "fit":
            return {"predict": str(quantiser.predict)}, {}
        name = quantiser.network or quantiser.corpus
        settings = {"k": self._width(quantiser)}
        fitted = self.add(quantisers.vq_predictor, name, settings, pairs=self._to_train_on(quantiser))
        return {}, {"predictor": fitted.file("a.f32")}

    def _width(self, quantiser: Any) -> int:
        """Elements of a vector."""
        if not quantiser.network:
            return 20
        width = latent_width(self.config.networks[quantiser.network].model_dump())
        assert width  # a quantiser of a network without a bottleneck is refused
        return width

    # codecs

    def tracked(self, codec: Codec) -> tuple[list[str], list[str]]:
        """The b and the y files of a codec's corpus at the pitch that it sends, a pair for each part."""
        settings = codec.pitch.model_dump() | self.config.features.model_dump()
        b, y = [], []
        for path in self.corpus(codec.corpus)[0]:
            features = self.maker(path)
            speech_of = self.maker(features.inputs["model"][0]).inputs["speech"]
            node = self.add(vocoder.track, features.name, settings, settings, speech=speech_of)
            b.append(node.file("b.f32"))
            y.append(node.file("y.f32"))
        return b, y

    def superframes(self, name: str, codec: Codec) -> Node:
        """A quantiser of kind superframe, trained for a codec."""
        quantiser = self.config.quantisers[name]
        assert isinstance(quantiser, Superframe)  # others are refused
        settings = quantiser.model_dump(include={*OfSuperframes.model_fields, "stages"})
        settings |= {"held_out": HELD_OUT, "eight_bit": codec.eight_bit}
        b, y = self.tracked(codec)
        return self.add(quantisers.vq_superframe, name, settings, settings, features=b, targets=y)

    def codec(self, name: str) -> Node:
        """The folder of a codec."""
        codec = self.config.codecs[name]
        b, y = self.tracked(codec)
        energy, shape = (self.superframes(one, codec).file("tables.safetensors") for one in (codec.energy, codec.shape))
        frames = self.config.superframe(codec)
        network = (
            codec.network.model_dump() | codec.model_dump(include={"voicing_ms", "eight_bit"}) | {"frames": frames}
        )
        trained = self.add(
            codecs.train_context, name, network, network, features=b, targets=y, energy=energy, shape=shape
        )
        coding = codec.model_dump(include={*Coding.model_fields, "pitch"})
        coding |= {"frames": frames, **self.config.features.model_dump(), "about": {"name": name}}
        files = {"energy": energy, "shape": shape, "network": trained.file("context.safetensors")}
        judged_by = [self.maker(path).inputs["speech"][0] for path in b]
        return self.add(codecs.assemble, name, coding, coding, speech=judged_by, **files)

    def coded_by(self, name: str, sample: Sample) -> Node:
        """A sample coded and decoded by a codec: the node of its decoded speech."""
        codec = self.codec(name).file("codec.json")
        bits = self.add(codecs.enc, f"{sample.name}_{name}", codec=codec, speech=sample.speech)
        return self.add(codecs.dec, f"{sample.name}_{name}", codec=codec, bits=bits.file("stream.bit"))

    # a chain of steps, over the files of a sample

    def coded(self, sample: Sample, chain: Chain) -> dict[str, str]:
        """The files that the steps of a chain make of a sample: l, l_hat, b_hat, y_hat and wav, as far as they do."""
        takes_b = chain.networks and self.config.networks[chain.networks[0]].row.source == "b"
        made = Made(sample.b if takes_b else sample.y, sample.y, sample.name, sample.model)
        made = self.made(steps.steps_of(self, chain), made)
        files = {"y": sample.y, "l": made.unquantised, "l_hat": made.quantised}
        files |= {"b": made.b_hat and sample.b, "b_hat": made.b_hat, "y_hat": made.features, "wav": made.speech}
        return {name: path for name, path in files.items() if path}

    def made(self, of: Sequence[steps.Step], made: Made) -> Made:
        """What steps make of files, one after the other."""
        for step in of:
            made = step.of_files(self, made)
        return made

    def run(self, command: str, name: str, step: steps.Step, **inputs: str) -> Node:
        """The node of a step's command, "subject.function", with the files and settings that the step holds."""
        subject, _, function = command.partition(".")
        stage = stage_of(getattr(import_module(f"mlquant.{subject}.stages"), function))
        given = step.model_dump(exclude_unset=True)
        settings = {one: value for one, value in given.items() if one in stage.settings}
        taken = {one: value for one, value in given.items() if one in stage.inputs}
        return self._add(stage, str(stage.folder), name, settings, inputs | taken)

    def stated(self, chain: Chain) -> list[dict[str, Any]]:
        """The steps of a chain, each with its files and settings, as `chains.coder` takes them."""
        return [{"step": one.step, **one.model_dump(exclude_unset=True)} for one in steps.steps_of(self, chain)]

    def search(self, by: Any) -> dict[str, Any]:
        """Files and settings of the search that a chain, or a network that is trained on, asks for.

        A chain that is measured with several numbers of stages has the codebooks of the largest.
        """
        quantiser = self.config.quantisers[by.quantiser]
        stages = max(by.stages) if isinstance(by.stages, list) else by.stages
        settings, inputs = self._prediction(quantiser)
        settings |= {"k": self._width(quantiser), "mbest": by.mbest, "send_every": self.config.send_every(quantiser)}
        settings |= {"reset_every": getattr(quantiser, "reset_every", None), "quantiser": by.quantiser}
        settings |= {"smooth": by.smooth} if getattr(by, "smooth", 0) else {}  # networks have no such setting
        return {"codebooks": self.codebooks(by.quantiser, stages), **settings, **inputs}

    # speech to compare with, and measures

    def original(self, sample: Sample) -> str:
        """Speech of a model's own amplitudes and phases."""
        return self.add(vocoder.resynth, sample.name, model=sample.model).file("speech.wav")

    def codec2(self, sample: Sample) -> Node:
        """A sample coded by Codec 2 in all of its modes."""
        return self.add(vocoder.anchor, sample.name, {"modes": [*MODES]}, speech=sample.speech)

    def references(self, sample: Sample) -> dict[str, str]:
        """Files that a sample's outputs are measured against, and the true features behind them."""
        ideal_y = self.add(vocoder.synth, f"{sample.name}_ideal_y", model=sample.model, y_hat=sample.y)
        return {
            **{"source": sample.speech, "model": sample.model, "features": sample.b, "y": sample.y},
            "original": self.original(sample),
            "ideal_y": ideal_y.file("speech.wav"),
        }

    def output(self, sample: Sample, index: int, output: Output) -> dict:
        """One output of one sample: its index, tag, bit rate, and the files to measure it by."""
        quantiser = self.config.quantisers[output.quantiser] if output.quantiser else None
        interval_ms = quantiser and quantiser.interval_ms
        if output.process == "original":
            row = _row(index, output.tag, {"wav": self.original(sample)})
        elif output.process == "codec2":
            assert output.mode  # an output of process codec2 is refused without a mode
            wav = self.codec2(sample).file(f"{output.mode}.wav")
            row = _row(index, output.tag, {"wav": wav}, *MODES[output.mode])
        elif output.process == "codec":
            assert output.codec  # an output of process codec is refused without one
            codec = self.config.codecs[output.codec]
            wav = self.coded_by(output.codec, sample).file("speech.wav")
            row = _row(index, output.tag, {"wav": wav}, self.config.bits_of(codec), 10 * self.config.superframe(codec))
        else:
            files = self.coded(sample, output)
            bits = frame_ms = None
            if quantiser:
                bits = sum(one.size.bit_length() - 1 for one in quantiser.stages[: output.stages])
                frame_ms = self.config.send_every(quantiser) * self.config.vector_ms(quantiser)
            row = _row(index, output.tag, files, bits, frame_ms)
        return row | {"interval_ms": interval_ms}

    def anchors(self, sample: Sample) -> Node:
        """Measures of the anchors: of the vocoder's references, and of every mode of Codec 2."""
        references, coded = self.references(sample), self.codec2(sample)
        rows = [_row(None, name, {"wav": references[name]}) for name in ("original", "ideal_y")]
        rows += [_row(None, mode, {"wav": coded.file(f"{mode}.wav")}, *MODES[mode]) for mode in MODES]
        return self.measured(f"{sample.name}_anchors", sample, rows)

    def measured(self, name: str, sample: Sample, rows: list[dict], latents: str | None = None) -> Node:
        """Measures of outputs of one sample.

        The settings record every node behind the outputs, and the `latents` that the experiment's page starts from.
        """
        references = self.references(sample)
        files = sorted({*references.values(), *(path for row in rows for path in row["files"].values())})
        entry = self.config.samples.get(sample.name)
        settings = {
            **{"sample": sample.name, "sex": entry and entry.sex, "references": references, "rows": rows},
            # The provenance.json of a network or codebook records the nodes behind it, once for all samples.
            "stages": recorded(self.behind(files, without=WITH_SIDECAR)),
            "latents": latents,
            "entry": entry and entry.model_dump(mode="json"),
        }
        counted = {name: value for name, value in settings.items() if name != "stages"}  # files have keys
        return self.add(measures.measure, name, settings, counted, files=files)

    def rated(self, name: str, settings: dict[str, Any], **inputs: Sequence[str]) -> Node:
        """Rate and distortion of a chain, for a study that compares chains."""
        return self.add(studies.rate, name, settings, **inputs)

    def own_inputs(self, nodes: Iterable[Node]) -> list[str]:
        """The files that nodes take and that no node makes: a user's own, each once."""
        paths = dict.fromkeys(path for node in nodes for paths in node.inputs.values() for path in paths)
        return [path for path in paths if path.rpartition("/")[0] not in self.nodes]

    def behind(self, files: Sequence[str], without: Collection[str] = ()) -> dict[str, Node]:
        """Every node that the files come from, by folder, sorted.

        Nodes of the kinds `without`, and the nodes behind them alone, are left out, as are files that no node makes.
        """
        found: dict[str, Node] = {}
        pending = list(files)
        while pending:
            folder = pending.pop().rpartition("/")[0]
            node = self.nodes.get(folder)
            if node and folder not in found and node.kind not in without:
                found[folder] = node
                pending += [path for paths in node.inputs.values() for path in paths]
        return dict(sorted(found.items()))


def _row(
    index: int | None,
    tag: str,
    files: dict[str, str],
    bits: int | None = None,
    frame_ms: int | None = None,
    delay: int = 0,
) -> dict:
    """The row that `measure` takes for an output; `delay` is in samples, on top of the vocoder's own delay."""
    return {"index": index, "tag": tag, "bits_per_frame": bits, "frame_ms": frame_ms, "delay": delay, "files": files}
