"""The configuration: it is read from its files and checked as a whole, so that each mistake gives one line.

`read` merges the library in workflow/config, config.yaml, and the files and settings of a user; `load` checks the
result and makes blocks of it. Only the Snakefile and tools use this module: no stage reads the configuration.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, PrivateAttr, TypeAdapter, ValidationError

from mlquant import studies
from mlquant.chains.settings import Chain, RatedChain
from mlquant.chains.steps import encoder_of
from mlquant.codecs.settings import Codec
from mlquant.core.blocks import (
    CONTROL,
    Block,
    FilePath,
    Name,
    Positive,
    by_kind,
    checked,
    nearest,
    quoted,
    told,
    unfit,
    validate,
)
from mlquant.core.containers import READ, SUFFIXES, UNREAD
from mlquant.core.errors import Faults, InputError, UnknownName
from mlquant.core.stage import Setting
from mlquant.experiments.settings import Experiment
from mlquant.listening.settings import Listening
from mlquant.networks.rows import SHAPING
from mlquant.networks.settings import Network
from mlquant.plan.reading import given, mapping_of
from mlquant.quantisers.settings import Quantiser, Size, Superframe, VectorQuantiser
from mlquant.speech.archives import matches
from mlquant.speech.settings import Corpus, HeldOutVoice, Part, Sample, SetPart, Source, TestSet, audio_files
from mlquant.studies import sweep
from mlquant.vocoder.settings import Features

LIBRARY: tuple[str, ...] = ("sources", "samples", "corpora", "test_sets", "networks", "quantisers", "codecs")
LIBRARY += ("experiments", "sweeps", "studies")
"""Files of workflow/config, in the order in which they are read, before config.yaml."""
FEW = "few"
"""The file of workflow/config that is read after config.yaml where `few_voices` is set."""
LIMITS = ("max_epochs", "max_minutes", "max_entries")
"""The upper limits of all trainings, corpora and codebooks, for a quick look."""


if TYPE_CHECKING:
    Study = Any
else:  # a study of any kind; the kinds are the files of the package `studies`
    Study = by_kind(*(study.Settings for study in studies.kinds().values()))


class Config(Block):
    """All settings. A changed one redoes what depends on it, and only that; what was made with the old value stays."""

    max_epochs: Annotated[Positive | None, Setting(help="upper limit of every training, for a quick look")] = None
    max_minutes: Annotated[
        Annotated[float, Setting(gt=0)] | None,
        Setting(help="upper limit of each part of a corpus, in minutes of speech"),
    ] = None
    max_entries: Annotated[Size | None, Setting(help="upper limit of the entries of every codebook")] = None
    few_voices: Annotated[
        bool,
        Setting(
            help="true: nothing is trained on the larger corpora, whose sources are 250 MB; workflow/config/few.yaml "
            "says what is used instead, and is read after config.yaml"
        ),
    ] = False
    speech_dir: Annotated[
        FilePath,
        Setting(
            help="folder of your own test samples, <sample>.wav, .flac, .ogg, .mp3 and so on, or .raw (headerless "
            "16-bit 8 kHz); a file there needs no entry in `samples`, and is used in place of one of its name"
        ),
    ] = "speech"
    features: Annotated[Features, Setting(help="how features are computed; see Features")] = Features()
    sources: Annotated[
        dict[Name, Source], Setting(help="where speech comes from; each section is described below")
    ] = {}
    samples: Annotated[dict[Name, Sample], Setting(help="test samples")] = {}
    held_out_voices: Annotated[
        dict[Name, HeldOutVoice], Setting(help="voices to measure on, which are left out of corpora")
    ] = {}
    corpora: Annotated[dict[Name, Corpus], Setting(help="training speech")] = {}
    test_sets: Annotated[dict[Name, TestSet], Setting(help="utterances of many speakers, to measure on")] = {}
    networks: Annotated[dict[Name, Network], Setting(help="networks, each trained on a corpus")] = {}
    quantisers: Annotated[dict[Name, Quantiser], Setting(help="vector quantisers of latents, or of b")] = {}
    codecs: Annotated[dict[Name, Codec], Setting(help="whole codecs, from speech to a bit stream and back")] = {}
    experiments: Annotated[
        dict[Name, Experiment], Field(min_length=1), Setting(help="samples, and what is made of them")
    ]
    sweeps: Annotated[dict[Name, sweep.Settings], Setting(help="networks that differ in a few settings, compared")] = {}
    studies: Annotated[dict[Name, Study], Setting(help="tables and figures of networks and quantisers")] = {}
    listening: Annotated[
        dict[Name, Listening],
        Setting(
            help="listening tests, each made from an experiment; besides these each experiment has one of its own "
            "name, of kind mushra with all defaults"
        ),
    ] = {}
    complete: Annotated[
        bool,
        Setting(
            help="true: an entry of this file replaces the entry of its name in earlier files, and is not merged with "
            "it; the config.yaml of a results folder has it"
        ),
    ] = False
    _whole: Config | None = PrivateAttr(None)
    _lowered: dict[str, list] = PrivateAttr(default_factory=dict)

    @property
    def whole(self) -> Config:
        """The configuration before its upper limits were applied."""
        return self._whole or self

    def lowered(self, entries: Collection[str]) -> dict[str, list]:
        """Return what the upper limits lowered in entries: by place, the value asked for and the value that is used.

        An entry is named by its place, as networks.nn4; the place of a setting is as networks.nn4.epochs.
        """
        return {
            place: values
            for place, values in self._lowered.items()
            if any(place.startswith(f"{entry}.") for entry in entries)
        }

    def send_every(self, quantiser: VectorQuantiser) -> int:
        """Return n, where a quantiser sends one vector in n."""
        return (quantiser.interval_ms or self.vector_ms(quantiser)) // self.vector_ms(quantiser)

    def vector_ms(self, quantiser: VectorQuantiser) -> int:
        """Return the time in ms that one vector of a quantiser stands for."""
        return 10 * self.networks[quantiser.network].ncat if quantiser.network else 10

    def superframe(self, codec: Codec) -> int:
        """Return the frames of a codec's superframe."""
        quantiser = self.quantisers[codec.shape]
        assert isinstance(quantiser, Superframe)  # others are refused
        return quantiser.frames

    def bits_of(self, codec: Codec) -> int:
        """Return the bits of a codec's superframe."""
        return sum(self.bits_of_parts(codec).values())

    def bits_of_parts(self, codec: Codec) -> dict[str, int]:
        """Return the bits of a codec's superframe, by what they are of."""
        ms = 10 * self.superframe(codec)
        of_pitch = codec.pitch.bits + max(len(codec.pitch.offsets) - 1, 0).bit_length()
        energy, shape = (
            sum(one.size.bit_length() - 1 for one in self.quantisers[name].stages)
            for name in (codec.energy, codec.shape)
        )
        of_side = {"pitch": ms // codec.pitch.every_ms * of_pitch, "voicing": ms // codec.voicing_ms}
        return of_side | {"energy": energy, "shape": shape}

    def check_chain(self, where: str, chain: Chain) -> None:
        """Raise InputError for a chain that does not go from b, or y, to y_hat; `where` is its place in messages."""
        _check_chain(self, where, chain)

    def is_memoryless(self, quantiser: VectorQuantiser) -> bool:
        """Return whether a quantiser takes every vector of a network's latents, each on its own."""
        return bool(quantiser.network) and quantiser.kind != "predictive" and self.send_every(quantiser) == 1


# reading


def files(root: Path) -> list[Path]:
    """Return the files of a configuration in reading order: the library of the checkout, then config.yaml.

    A config.yaml in the working directory is read in place of that of the checkout.
    """
    library = [path for name in LIBRARY if (path := root / "workflow/config" / f"{name}.yaml").is_file()]
    own = Path("config.yaml")
    return [*library, own if own.is_file() else root / own]


def read(root: Path, configfiles: Iterable[str | Path] = (), entries: Mapping | None = None) -> dict:
    """Return the configuration of a checkout, as `load` takes it, with files and then single entries over it.

    Blocks are merged deeply, as Snakemake merges them; any other value replaces the one before it. Names are compared
    as text, so that 240118 and "240118" are one name. This is why the files are read here and not by `configfile:` in
    the Snakefile: Snakemake would keep both names, and no one could say which of them came later. Raises InputError for
    files that hold no configuration, or are not there.
    """
    layers, faults = [], Faults()
    for own in files(root):
        with faults.gathered():
            layers.append(mapping_of(own))
    for path in configfiles:
        with faults.gathered():
            layers.append(given(Path(path)))
    faults.tell()
    chosen = [layer["few_voices"] for layer in [*layers, _nulls(dict(entries or {}))] if "few_voices" in layer]
    layers = [*map(_named_by_text, layers)]
    if chosen and _is_true(chosen[-1]):
        few = _named_by_text(mapping_of(root / "workflow/config" / f"{FEW}.yaml"))
        # It changes entries that are there. One that a user's own config.yaml lacks would have nothing but the change.
        there = {section: {name for layer in layers for name in layer.get(section) or ()} for section in few}
        changes = {
            section: {name: few[section][name] for name in few[section] if name in there[section]} for section in few
        }
        layers.insert(len(files(root)), changes)
    raw: dict = {}
    for layer in layers:
        if layer.pop("complete", False) is True:
            raw = alike(raw)  # now, so that an entry that is `like` a replaced one keeps its settings
            raw = raw | {key: value | layer[key] for key, value in raw.items() if _are_dicts(value, layer.get(key))}
        raw = merged(raw, layer)
    return merged(raw, _nulls(_named_by_text(dict(entries or {}))))


def _is_true(value: Any) -> bool:
    """Return whether a value is true, or a text that stands for it, as Snakemake gives "true" of `--config`.

    What is neither true nor false is refused later.
    """
    try:
        return TypeAdapter(bool).validate_python(value)
    except ValidationError:
        return False


def _nulls(value: Any) -> Any:
    """Return entries of `--config` with null in place of the text "null", which Snakemake gives for it."""
    if isinstance(value, dict):
        return {key: _nulls(item) for key, item in value.items()}
    return None if value in ("null", "~") else value


def _are_dicts(*values: Any) -> bool:
    return all(isinstance(value, dict) for value in values)


def merged(base: Any, own: Any) -> Any:
    """Return a block with another merged over it, deeply; of two other values the second. Neither is changed."""
    if not _are_dicts(base, own):
        return own
    return base | {key: merged(base[key], value) if key in base else value for key, value in own.items()}


def _named_by_text(raw: Any) -> Any:
    """Return a configuration whose keys are all text. InputError for two keys that are the same as text."""
    try:
        return _with_text_keys(raw, {})
    except RecursionError:
        raise InputError("config: is nested too deeply, or in itself, expected a few levels") from None


def _with_text_keys(value: Any, done: dict[int, Any]) -> Any:
    """Return a value with text as keys. `done` holds the finished values by the identity of the original ones.

    So what YAML anchors share stays shared: copied out, ten lines of nested anchors could fill any memory.
    """
    if isinstance(value, Mapping | list) and id(value) not in done:
        done[id(value)] = _copied(value, done)
    return done.get(id(value), value)


def _copied(value: Mapping | list, done: dict[int, Any]) -> dict | list:
    if isinstance(value, list):
        return [_with_text_keys(item, done) for item in value]
    text: dict[str, Any] = {}
    for key, item in value.items():
        if re.search(CONTROL, str(key)):
            raise InputError(f"config: the key {quoted(key)} holds a control character, expected none")
        if str(key) in text:
            raise InputError(f"config: the key {key} is there twice, expected once")
        text[str(key)] = _with_text_keys(item, done)
    return text


def load(raw: Any) -> Config:
    """Check a configuration as read from YAML, and return its blocks. Raises InputError with a line for each fault.

    The networks of sweeps and studies join `networks`, each under its place in the configuration. max_epochs,
    max_minutes and max_entries are applied everywhere.
    """
    text = _named_by_text(raw)
    if not isinstance(text, dict):
        return validate(Config, text, "config")
    faults = Faults()
    config = _checked(_trained_on(_by_index(alike(text, faults), faults), faults), text, faults)
    # An entry was checked after the one that it is `like`, so that a mistake is found in the entry that has it. Here
    # the order of the files comes back, because the first of several equal entries gives its name to their results.
    sections = {section: getattr(config, section) for section in ALIKE if isinstance(text.get(section), dict)}
    ordered = {
        section: {name: entries[name] for name in text[section] if name in entries}
        for section, entries in sections.items()
    }
    config = config.model_copy(update=ordered)
    config = config.model_copy(update={"test_sets": _with_voices(config, faults)})
    config = config.model_copy(update={"networks": config.networks | _derived_networks(config, text, faults)})
    config = config.model_copy(update={"quantisers": config.quantisers | _derived_quantisers(config, faults)})
    _check_unread(config, faults)
    _check_references(config, faults)
    _check_studies(config, faults)
    for name, test in config.listening.items():
        _check_listening(config, f"listening.{name}", test, faults)
    _check_own_files(config, faults)
    faults.tell()
    return _limited(_without_voices(_without_samples(config)))


class _Rest(Config):
    """A configuration of which entries with faults were taken out, perhaps all experiments."""

    experiments: dict[Name, Experiment] = {}


def _checked(filled: dict, text: dict, faults: Faults) -> Config:
    """Return the blocks of a configuration, without the entries that have faults, which are noted.

    `text` is the configuration as read. A fault that an entry has taken from another one is told of that one only.
    """
    taken_out = bool(text.get("experiments")) and not filled.get("experiments")
    config, found = checked(_Rest if taken_out else Config, filled)
    if not found:
        return config
    told_of: dict[tuple, set[str]] = {}
    for place, fault in found:
        entry, rest = place[:2], told(place[2:], fault)
        told_of.setdefault(entry, set()).add(rest)
        if not any(rest in told_of.get(other, ()) for other in _taken_from(text, *entry)):
            faults.append(f"config: {told(place, fault)}")
    cut = {_entry_of(place) for place, _ in found if place}
    faults.broken |= {place[1] for place in cut if len(place) == 2}
    known = {key: value for key, value in filled.items() if key in Config.model_fields}
    config, found = checked(_Rest, _without(known, cut))
    if found or not {place[0] for place in cut if len(place) == 1} <= {*LIMITS, "features", "complete"}:
        faults.tell()  # it is not known what names there are
    return config


def _entry_of(place: tuple) -> tuple:
    """Return the place of the output, the entry or the section that a fault is in."""
    if place[0] not in (*ALIKE, "sources", "samples", "held_out_voices"):
        return place[:1]
    return place[:4] if len(place) > 3 and place[2] == "outputs" else place[:2]


def _without(block: Any, cut: Collection[tuple], place: tuple = ()) -> Any:
    """Return nested mappings without what is at some places of up to four keys."""
    if not isinstance(block, dict) or len(place) == 4:
        return block
    inner = {key: (*place, key) for key in block}
    return {key: _without(block[key], cut, inner[key]) for key in block if inner[key] not in cut}


def _taken_from(text: dict, section: str = "", name: str = "") -> list[tuple[str, str]]:
    """Return the entries, by section and name, that an entry takes settings from; `text` is what was read."""
    entry = text[section].get(name) if isinstance(text.get(section), dict) else None
    if not isinstance(entry, dict):
        return []
    found = [(section, entry.get("like"))]
    if section == "networks":
        found += [(section, entry.get(key)) for key in ("finetune", "vq_in_loop")]
    return [(section, str(name)) for section, name in found if name]


ALIKE = {
    "corpora": "corpus",
    "test_sets": "test set",
    "networks": "network",
    "quantisers": "quantiser",
    "codecs": "codec",
    "experiments": "experiment",
    "sweeps": "sweep",
    "studies": "study",
    "listening": "listening test",
}
"""The sections whose entries may have the key `like`, and the word for one entry of each."""


def alike(raw: dict, faults: Faults | None = None) -> dict:
    """Return a configuration as read, in which each entry with `like` has the settings that it takes from another.

    The other entry comes before it. The `base` of a sweep or study holds settings of a network, so that its `like`
    names a network. An entry whose `like` cannot be followed is noted in `faults` and left out; without `faults`,
    InputError is raised.
    """
    noted = Faults() if faults is None else faults
    done: dict[str, Any] = {}
    circle: set[str] = set()  # of which one line is enough

    def filled(section: str, block: Any, place: str, above: tuple[str, ...]) -> Any:
        if not isinstance(block, dict) or "like" not in block:
            return block
        name, own = block["like"], {key: value for key, value in block.items() if key != "like"}
        if name is None:
            return own
        if isinstance(name, list | dict):
            raise InputError(f"config: {place}.like: found {quoted(name)}, expected the name of a {ALIKE[section]}")
        name, entries = str(name), raw.get(section)
        _check(f"{place}.like", name, entries if isinstance(entries, dict) else {}, ALIKE[section])
        if name in above:
            circle.update(f"{section}.{other}" for other in above)
            taken = f"which takes its settings from {above[-1]!r} itself"
            raise InputError(f"config: {place}.like: found {name!r}, {taken}")
        return merged(entry(section, name, above), own)

    def entry(section: str, name: str, above: tuple[str, ...] = ()) -> Any:
        place = f"{section}.{name}"
        if place not in done:
            done[place] = filled(section, raw[section][name], place, (*above, name))
        return done[place]

    sections = {section: raw[section] for section in ALIKE if isinstance(raw.get(section), dict)}
    for section, entries in sections.items():
        for name in entries:
            if f"{section}.{name}" not in circle:
                with noted.gathered(name):
                    entry(section, name)
    found: dict[str, dict[str, Any]] = {section: {} for section in sections}
    for place, block in done.items():  # in the order in which they were completed
        section, _, name = place.partition(".")
        found[section][name] = block
    for section in {"sweeps", "studies"} & found.keys():
        for name, block in [*found[section].items()]:
            if isinstance(block, dict) and "base" in block:
                del found[section][name]
                with noted.gathered(name):
                    base = filled("networks", block["base"], f"{section}.{name}.base", ())
                    found[section][name] = block | {"base": base}
    if faults is None:
        noted.tell()
    return raw | found


def _by_index(raw: dict, faults: Faults) -> dict:
    """Return a configuration as read, without the outputs that are null. A list of outputs is a fault."""
    experiments = raw.get("experiments")
    if not isinstance(experiments, dict):
        return raw
    found = {}
    for name, entry in experiments.items():
        outputs = entry.get("outputs") if isinstance(entry, dict) else None
        with faults.gathered(name):
            if isinstance(outputs, list):
                raise InputError(
                    f"config: experiments.{name}.outputs: found a list, expected outputs by index: for each, in place "
                    f"of '- index: 6' write '6:' and its other settings below"
                )
            if isinstance(outputs, dict):
                # Pydantic would read 06 as 6.
                if odd := [index for index in outputs if re.fullmatch(r"(?!(0|[1-9][0-9]*)$)[\d_.+ ]+", index)]:
                    raise InputError(f"config: experiments.{name}.outputs: found the index {odd[0]}, expected as in 6")
                entry = entry | {"outputs": {index: output for index, output in outputs.items() if output is not None}}
            found[name] = entry
    return raw | {"experiments": found}


_OWN = ("finetune", "vq_in_loop", "quantiser", "stages", "mbest", "refresh", "noise_var")
"""Settings that a network does not take over from its initial network, which it is trained on from."""


def _initial_of(entry: dict, place: str) -> tuple[str, str | None]:
    """Return the key, with its place, by which a network names its initial network, and that name.

    The name is None for a network that is not trained on from another.
    """
    key = "finetune" if entry.get("finetune") else "vq_in_loop"
    value = entry.get(key)
    if isinstance(value, list | dict):
        raise InputError(f"config: {place}.{key}: found {quoted(value)}, expected the name of a network")
    return f"{place}.{key}", str(value) if value else None  # YAML may have read it as a number


def _trained_on(raw: dict, faults: Faults) -> dict:
    """Return a configuration as read, in which a network has the settings of its initial network below its own.

    The initial network is that of `finetune` or `vq_in_loop`. Other mistakes in these networks are found later.
    """
    networks = raw.get("networks")
    if not isinstance(networks, dict):
        return raw

    circle: set[str] = set()  # of which one line is enough

    def filled(name: str, above: tuple[str, ...]) -> Any:
        entry = networks[name]
        if not isinstance(entry, dict):
            return entry
        key, initial = _initial_of(entry, f"networks.{name}")
        if initial is None:
            return entry
        _check(key, initial, networks, "network")
        if initial in (*above, name):
            circle.update(above)
            raise InputError(f"config: {key}: found {initial!r}, which is trained on from {name!r} itself")
        base = filled(initial, (*above, name))
        if not isinstance(base, dict):
            return entry
        return {key: value for key, value in base.items() if key not in _OWN} | entry

    begins_anew: dict[str, Any] = {}
    trained_on: dict[str, Any] = {}
    for name in networks:
        if name in circle:
            continue
        with faults.gathered(name):
            found = filled(name, ())
            (begins_anew if found is networks[name] else trained_on)[name] = found
    return raw | {"networks": begins_anew | trained_on}


def _derived_networks(config: Config, text: dict, faults: Faults) -> dict[str, Network]:
    """Return the networks that sweeps and studies train, by their places in the configuration; `text` is as read."""
    found = {}

    def add(place: str, *settings: dict) -> Network:
        merged = {key: value for block in settings for key, value in block.items()}
        key, initial = _initial_of(merged, place)
        if initial:
            _check(key, initial, config.networks, "network")
            merged = config.networks[initial].model_dump(exclude={*_OWN}) | merged
        found[place] = validate(Network, merged, f"config: {place}")
        return found[place]

    for name, settings in config.sweeps.items():
        if _base_of(text, "sweeps", name) not in faults.broken:
            with faults.gathered(name):
                sweep.networks(name, settings, add)
    for name, settings in config.studies.items():
        derive = getattr(studies.kinds()[settings.kind], "networks", None)
        if derive and _base_of(text, "studies", name) not in faults.broken:
            with faults.gathered(name):
                derive(name, settings, add)
    return found


def _base_of(text: dict, section: str, name: str) -> str:
    """Return the network that the base of a sweep or study is like, in a configuration as read."""
    base = text[section][name].get("base")
    return str(base.get("like")) if isinstance(base, dict) else ""


def _derived_quantisers(config: Config, faults: Faults) -> dict[str, VectorQuantiser]:
    """Return the quantisers that studies train, by their places in the configuration."""
    found = {}

    def add(place: str, settings: dict) -> None:
        found[place] = validate(Quantiser, settings, f"config: {place}")

    for name, settings in config.studies.items():
        if derive := getattr(studies.kinds()[settings.kind], "quantisers", None):
            with faults.gathered(name):
                _check(f"studies.{name}.network", getattr(settings, "network", None), config.networks, "network")
                _check(f"studies.{name}.corpus", getattr(settings, "corpus", None), config.corpora, "corpus")
                derive(name, settings, add)
    return found


def _limited(config: Config) -> Config:
    """Return the configuration with its upper limits applied to networks, parts of corpora, and codebooks."""

    if not any(getattr(config, limit) for limit in LIMITS):
        return config
    lowered: dict[str, list] = {}

    def least(place: str, block: Block, key: str, limit: float | None) -> Block:
        found = getattr(block, key)
        if not limit or (found is not None and found <= limit):
            return block
        lowered[f"{place}.{key}"] = [found, limit]
        return block.model_copy(update={key: limit})

    networks = {
        name: least(place_of("networks", name), one, "epochs", config.max_epochs)
        for name, one in config.networks.items()
    }
    corpora, quantisers = {}, {}
    for name, corpus in config.corpora.items():
        parts = {
            part: least(f"corpora.{name}.parts.{part}", settings, "minutes", config.max_minutes)
            for part, settings in corpus.parts.items()
            if not settings.b
        }
        corpora[name] = corpus.model_copy(update={"parts": {**corpus.parts, **parts}})
    for name, quantiser in config.quantisers.items():
        place = f"{place_of('quantisers', name)}.stages"
        stages = [least(f"{place}.{i}", stage, "size", config.max_entries) for i, stage in enumerate(quantiser.stages)]
        quantisers[name] = quantiser.model_copy(update={"stages": stages})
    codecs = {}
    for name, codec in config.codecs.items():
        network: Block = codec.network
        for key in ("epochs", "finetune"):
            network = least(f"codecs.{name}.network", network, key, config.max_epochs)
        codecs[name] = codec.model_copy(update={"network": network})
    lowered_parts = {"networks": networks, "corpora": corpora, "quantisers": quantisers, "codecs": codecs}
    limited = config.model_copy(update=lowered_parts)
    limited._whole, limited._lowered = config, lowered
    return limited


def place_of(section: str, name: str) -> str:
    """Return the place of an entry in the configuration; that of a sweep or study is the entry's name itself."""
    return name if "." in name else f"{section}.{name}"


def _check(where: str, name: str | None, known: Collection[str], what: str) -> None:
    if name is not None and name not in known:
        raise UnknownName(f"config: {where}: {name!r} names no {what}, {nearest(name, known)}", name)


def _check_references(config: Config, faults: Faults) -> None:
    """Note each name that is not that of an entry, or of an entry that does not fit its use."""
    for name, sample in config.samples.items():
        with faults.gathered():
            _check(f"samples.{name}.source", sample.source, config.sources, "source")
    for name, voice in config.held_out_voices.items():
        for key, source in (("source", voice.source), *(("also", source) for source in voice.also)):
            with faults.gathered():
                _check(f"held_out_voices.{name}.{key}", source, config.sources, "source")
    for name, corpus in config.corpora.items():
        for part, settings in corpus.parts.items():
            with faults.gathered():
                _check(f"corpora.{name}.parts.{part}.source", settings.source, config.sources, "source")
    for name, test_set in config.test_sets.items():
        for part, clips in test_set.parts.items():
            with faults.gathered():
                _check(f"test_sets.{name}.parts.{part}.source", clips.source, config.sources, "source")
    for name, network in config.networks.items():
        if name.rpartition(".seed")[0] in config.networks:
            continue  # a repeated training, with the faults of the first one
        with faults.gathered():
            _check(f"{place_of('networks', name)}.corpus", network.corpus, config.corpora, "corpus")
            for part, settings in config.corpora[network.corpus].parts.items():
                if network.row.target == "y" and settings.b and not settings.y:
                    where = f"corpora.{network.corpus}.parts.{part}"
                    raise InputError(f"config: {where}: has b without y, which {name} is trained on")
    for name, quantiser in config.quantisers.items():
        with faults.gathered():
            _check_quantiser(config, place_of("quantisers", name), quantiser)
    for name, network in config.networks.items():
        if network.initial:
            with faults.gathered():
                _check_initial(config, place_of("networks", name), network)
    for name, codec in config.codecs.items():
        _check_codec(config, name, codec, faults)
    samples = _samples(config)
    for name, experiment in config.experiments.items():
        _check_experiment(config, name, experiment, samples, faults)


def _check_quantiser(config: Config, where: str, quantiser: VectorQuantiser) -> None:
    """Raise InputError for a quantiser of what is not there, or cannot be quantised."""
    _check(f"{where}.network", quantiser.network, config.networks, "network")
    _check(f"{where}.corpus", quantiser.corpus, config.corpora, "corpus")
    if quantiser.network and config.networks[quantiser.network].d is None:
        raise InputError(f"config: {where}.network: {quantiser.network!r} has no bottleneck to quantise")
    vector_ms = config.vector_ms(quantiser)
    if quantiser.interval_ms and quantiser.interval_ms % vector_ms:
        raise InputError(
            f"config: {where}.interval_ms: found {quantiser.interval_ms}, expected a multiple of "
            f"{vector_ms}, the time of a vector of {quantiser.network!r}"
        )


def _check_codec(config: Config, name: str, codec: Codec, faults: Faults) -> None:
    """Note the faults of a codec: names of what is not there, and parts that do not fit each other."""
    where = f"codecs.{name}"
    with faults.gathered(name):
        _check(f"{where}.corpus", codec.corpus, config.corpora, "corpus")
        for of in ("energy", "shape"):
            quantiser = getattr(codec, of)
            _check(f"{where}.{of}", quantiser, config.quantisers, "quantiser")
            found = config.quantisers[quantiser]
            if not isinstance(found, Superframe) or found.of != of:
                kind = f"of {found.of}" if isinstance(found, Superframe) else f"of kind {found.kind}"
                raise InputError(
                    f"config: {where}.{of}: {quantiser!r} is {kind}, expected one of kind superframe, of {of}"
                )
        frames, of_energy = config.superframe(codec), config.quantisers[codec.energy]
        assert isinstance(of_energy, Superframe)
        if of_energy.frames != frames:
            raise InputError(
                f"config: {where}.energy: {codec.energy!r} has superframes of {of_energy.frames} frames, expected "
                f"{frames} as of {codec.shape!r}"
            )
        for key, ms in (("pitch.every_ms", codec.pitch.every_ms), ("voicing_ms", codec.voicing_ms)):
            if 10 * frames % ms:
                raise InputError(
                    f"config: {where}.{key}: found {ms}, expected a divisor of {10 * frames}, the ms of a superframe "
                    f"of {codec.shape!r}"
                )
        for part, settings in config.corpora[codec.corpus].parts.items():
            if settings.b:
                raise InputError(
                    f"config: corpora.{codec.corpus}.parts.{part}: has b, expected speech for the codec {name!r}"
                )


def _check_experiment(
    config: Config, name: str, experiment: Experiment, samples: Collection[str], faults: Faults
) -> None:
    """Note the faults of the samples and outputs of an experiment; `samples` are all that there are."""
    with faults.gathered():
        _check(f"experiments.{name}.test_set", experiment.test_set, config.test_sets, "test set")
    for i, used in enumerate(experiment.samples):
        with faults.gathered():
            _check(f"experiments.{name}.samples.{i}", used, samples, f"sample or file in {config.speech_dir}/")
            if experiment.samples.index(used) != i:
                raise InputError(f"config: experiments.{name}.samples.{i}: {used!r} is there twice, expected once")
    seen: dict[str, int] = {}
    for index, output in experiment.outputs.items():
        with faults.gathered():
            _check(f"experiments.{name}.outputs.{index}.codec", output.codec, config.codecs, "codec")
            _check_chain(config, f"experiments.{name}.outputs.{index}", output)
        with faults.gathered():
            for published in (f"{used}_{index}_{output.tag}.wav" for used in experiment.samples):
                if (first := seen.setdefault(published, index)) != index:
                    raise InputError(
                        f"config: experiments.{name}.outputs.{index}: its file {published} is also that of "
                        f"outputs.{first}, expected another index or tag"
                    )


def _check_initial(config: Config, where: str, network: Network) -> None:
    """Raise InputError for a network that does not have the shape of its initial one, or whose quantiser does not fit.

    The quantiser must belong before the network, or to its bottleneck.
    """
    key = "finetune" if network.finetune else "vq_in_loop"
    assert network.initial and network.quantiser
    _check(f"{where}.{key}", network.initial, config.networks, "network")
    initial = config.networks[network.initial]
    _check(f"{where}.quantiser", network.quantiser, config.quantisers, "quantiser")
    quantiser = config.quantisers[network.quantiser]
    _refuse_superframes(f"{where}.quantiser", network.quantiser, quantiser)
    for setting in SHAPING:
        found, expected = getattr(network, setting), getattr(initial, setting)
        if found != expected:
            raise InputError(f"config: {where}.{setting}: found {found}, expected {expected} as of {network.initial!r}")
    if (network.stages or 1) > len(quantiser.stages):
        raise InputError(
            f"config: {where}.stages: found {network.stages}, but quantiser {network.quantiser!r} has "
            f"{len(quantiser.stages)} stages"
        )
    if network.row.encoder:
        if encoder_of(config.networks, network.initial) != quantiser.network:
            raise InputError(
                f"config: {where}.quantiser: {network.quantiser!r} is not of the latents of {network.initial!r}"
            )
        if network.row.quantised or network.symbols:
            inside = "quantises" if network.row.quantised else "makes symbols"
            raise InputError(f"config: {where}.{key}: {network.initial!r} {inside} itself, expected a plain bottleneck")
        if network.vq_in_loop and quantiser.kind == "predictive":
            raise InputError(f"config: {where}.quantiser: found kind predictive, expected lbg or beam in the loop")
    elif network.vq_in_loop:
        raise InputError(f"config: {where}.{key}: {network.initial!r} has no bottleneck to quantise")
    elif network.row.target != "y":
        raise InputError(
            f"config: {where}.{key}: {network.initial!r} has no bottleneck, and makes b_hat instead of y_hat"
        )
    elif quantiser.network and config.networks[quantiser.network].row.target != "b":
        raise InputError(f"config: {where}.quantiser: {network.quantiser!r} gives no b_hat, which {where} takes")


def _refuse_superframes(where: str, name: str, quantiser: VectorQuantiser) -> None:
    """Raise InputError for a quantiser of kind superframe, which is no quantiser of latents or of single frames."""
    if isinstance(quantiser, Superframe):
        raise InputError(f"config: {where}: {name!r} is of kind superframe, which a codec takes, expected another kind")


def _check_chain(config: Config, where: str, chain: Chain) -> None:
    """Raise InputError unless the networks of a chain lead from b or y to y_hat, and its quantiser belongs to one."""
    for i, network in enumerate(chain.networks):
        _check(f"{where}.networks.{i}", network, config.networks, "network")
        row = config.networks[network].row
        target = "y" if i == len(chain.networks) - 1 else "b"
        if i and row.source == "y":
            raise InputError(f"config: {where}.networks.{i}: {network!r} takes y, expected one that takes b_hat")
        if row.target != target:
            expected = f"{target}_hat {'from' if target == 'y' else 'before'} the last network"
            raise InputError(f"config: {where}.networks.{i}: {network!r} makes {row.target}_hat, expected {expected}")
    if chain.noise_var and sum(config.networks[network].d is not None for network in chain.networks) != 1:
        raise InputError(f"config: {where}.noise_var: expected one network with a bottleneck to put noise on")
    if chain.quantiser is None:
        return
    _check(f"{where}.quantiser", chain.quantiser, config.quantisers, "quantiser")
    quantiser = config.quantisers[chain.quantiser]
    _refuse_superframes(f"{where}.quantiser", chain.quantiser, quantiser)
    if quantiser.network:
        encoders = [encoder_of(config.networks, network) for network in chain.networks]
        if quantiser.network not in config.networks:
            raise KeyError(quantiser.network)  # the quantiser has a fault of its own
        if quantiser.network not in encoders:
            raise InputError(
                f"config: {where}.quantiser: {chain.quantiser!r} is of the latents of {quantiser.network!r}, expected "
                f"a quantiser of one of its networks, {', '.join(chain.networks) or 'of which there is none'}"
            )
        if encoders.count(quantiser.network) > 1:
            raise InputError(
                f"config: {where}.networks: {chain.quantiser!r} is of the latents of several of them, expected of one"
            )
    elif not chain.networks or config.networks[chain.networks[0]].row.source == "y":
        raise InputError(f"config: {where}.quantiser: {chain.quantiser!r} is of b, expected a network that takes b")
    if chain.smooth and (quantiser.kind == "predictive" or config.send_every(quantiser) > 1):
        raise InputError(
            f"config: {where}.smooth: {chain.quantiser!r} predicts, or does not send every vector, expected another"
        )
    most = max(chain.stages) if isinstance(chain, RatedChain) else chain.stages or 1
    if most > len(quantiser.stages):
        raise InputError(
            f"config: {where}.stages: found {most}, but quantiser {chain.quantiser!r} has "
            f"{len(quantiser.stages)} stages"
        )


def _check_studies(config: Config, faults: Faults) -> None:
    """Note each name in a study that is not that of an entry that the study can use."""
    of_sample = (_samples(config), f"sample or file in {config.speech_dir}/")
    known: dict[str, tuple[Collection[str], str]] = {
        "quantiser": (config.quantisers, "quantiser"),
        "network": (config.networks, "network"),
        "manifold": (config.networks, "network"),
        "sample": of_sample,
        "corpus": (config.corpora, "corpus"),
        "experiment": (config.experiments, "experiment"),
        "test_set": (config.test_sets, "test set"),
    }
    for name, study in config.studies.items():
        before = len(faults)
        for key, entries in known.items():
            with faults.gathered():
                _check(f"studies.{name}.{key}", getattr(study, key, None), *entries)
        for i, sample in enumerate(getattr(study, "samples", ())):
            with faults.gathered():
                _check(f"studies.{name}.samples.{i}", sample, *of_sample)
        if len(faults) == before and (check := getattr(studies.kinds()[study.kind], "check", None)):
            with faults.gathered():
                check(config, name, study)


def _check_listening(config: Config, where: str, test: Listening, faults: Faults) -> None:
    """Note the samples, outputs and pairs of a listening test that its experiment does not have."""
    with faults.gathered():
        _check(f"{where}.experiment", test.experiment, config.experiments, "experiment")
    experiment = config.experiments.get(test.experiment)
    if experiment is None:
        return
    pairs = getattr(test, "pairs", [])
    named = {f"outputs.{i}": index for i, index in enumerate(test.outputs)}
    named |= {f"pairs.{i}.{j}": index for i, pair in enumerate(pairs) for j, index in enumerate(pair)}
    known = [str(index) for index in experiment.outputs]
    for place, index in named.items():
        with faults.gathered():
            _check(f"{where}.{place}", str(index), known, f"output of {test.experiment}")
    with faults.gathered():
        for i, sample in enumerate(test.samples):
            _check(f"{where}.samples.{i}", sample, experiment.samples, f"sample of {test.experiment}")
    lists: dict[str, list] = {"samples": test.samples, "outputs": test.outputs}
    lists |= {"pairs": [sorted(pair) for pair in pairs]}
    lists |= {f"pairs.{i}": pair for i, pair in enumerate(pairs)}
    for key, values in lists.items():
        with faults.gathered():
            if twice := next((one for i, one in enumerate(values) if one in values[:i]), None):
                raise InputError(f"config: {where}.{key}: {twice!r} is there twice, expected once")


def _check_unread(config: Config, faults: Faults) -> None:
    """Note a sample whose only file among the user's own is of a kind that is not read."""
    unread = _used_samples(config) - {path.stem for path in own_files(config)}
    for path in sorted(Path(config.speech_dir).glob("*")):
        is_audio = path.suffix.lower() in UNREAD or path.stem not in config.samples
        if path.stem in unread and is_audio and path.is_file():
            with faults.gathered(path.stem):
                raise InputError(f"config: sample {path.stem!r}: found {path}, which is not read, expected {READ}")


def _check_own_files(config: Config, faults: Faults) -> None:
    """Note an own speech file whose path cannot be used, and a sample with two files."""
    used = _used_samples(config)
    seen: dict[str, Path] = {}
    for path in own_files(config):
        if (first := seen.setdefault(path.stem, path)) != path and path.stem in used:
            faults.append(f"config: sample {path.stem!r}: found {first} and {path}, expected one file of that name")
    for section, entries in (("corpora", config.corpora), ("test_sets", config.test_sets)):
        for place, settings in (
            (f"{name}.parts.{part}", one) for name, of in entries.items() for part, one in of.parts.items()
        ):
            where = f"config: {section}.{place}."
            with faults.gathered():
                try:
                    found = audio_files(settings.files) if settings.files else []
                except InputError as error:
                    raise InputError(f"{where}{error}") from None
                for name_of_file in found:
                    if problem := unfit(name_of_file):
                        raise InputError(f"{where}files: found {quoted(name_of_file)}, {problem}")


def _used_samples(config: Config) -> set[str]:
    """Return the samples of all experiments and studies."""
    used = {sample for experiment in config.experiments.values() for sample in experiment.samples}
    for study in config.studies.values():
        used |= {*getattr(study, "samples", []), *filter(None, [getattr(study, "sample", None)])}
    return used


def _without_samples(config: Config) -> Config:
    """Return the configuration with the files of test samples excluded from each part of a corpus that has them.

    A part that has none stays as it is, so that a new sample redoes no corpus that it is not in. A copy of a sample
    under another path is found by its checksum, when an experiment is tabulated; see `corpus.refuse_samples`.
    """
    used = _used_samples(config)
    own = {os.path.realpath(path) for path in own_files(config) if path.stem in used}
    in_source: dict[str, list[str]] = {}
    for sample in config.samples.values():
        if sample.source and sample.file:
            in_source.setdefault(sample.source, []).append(sample.file)

    def samples_of(part: Part) -> list[str]:
        if part.files:
            found = audio_files(part.files) if own else []
            return [glob.escape(path) for path in found if os.path.realpath(path) in own]
        files = in_source.get(part.source or "", [])
        return [file for file in files if any(matches(file, pattern) for pattern in part.include)]

    corpora = {}
    for name, corpus in config.corpora.items():
        parts = {}
        for place, part in corpus.parts.items():
            files = [file for file in samples_of(part) if not any(matches(file, pattern) for pattern in part.exclude)]
            parts[place] = part.model_copy(update={"exclude": [*part.exclude, *files]}) if files else part
        corpora[name] = corpus.model_copy(update={"parts": parts})
    return config.model_copy(update={"corpora": corpora})


def _without_voices(config: Config) -> Config:
    """Return the configuration with the voices of `held_out_voices` excluded from the parts that are trained on."""
    of_source: dict[str, list[str]] = {}
    for voice in config.held_out_voices.values():
        for source, patterns in voice.files().items():
            of_source.setdefault(source, []).extend(patterns)
    corpora = {}
    for name, corpus in config.corpora.items():
        parts = dict(corpus.parts)
        for place, part in corpus.parts.items():
            patterns = [one for one in of_source.get(part.source or "", []) if one not in part.exclude]
            if patterns and not part.held_out:
                parts[place] = part.model_copy(update={"exclude": [*part.exclude, *patterns]})
        corpora[name] = corpus.model_copy(update={"parts": parts})
    return config.model_copy(update={"corpora": corpora})


def _with_voices(config: Config, faults: Faults) -> dict[str, TestSet]:
    """Return the test sets, in which each of the `held_out_voices` is a part of those that ask for it."""
    found = dict(config.test_sets)
    for name, entry in config.test_sets.items():
        if entry.held_out_voices:
            with faults.gathered(name):
                if not config.held_out_voices:
                    raise InputError(f"config: test_sets.{name}.held_out_voices: the table is empty, expected a voice")
                parts = {
                    voice: SetPart(**entry.parts_with, **about.model_dump(include={"sex", "source", "include"}))
                    for voice, about in config.held_out_voices.items()
                }
                found[name] = entry.model_copy(update={"parts": parts, "parts_with": {}})
    return found


def own_files(config: Config) -> list[Path]:
    """Return the user's own speech files, sorted."""
    return sorted(path for path in Path(config.speech_dir).glob("*") if path.suffix.lower() in SUFFIXES)


def _samples(config: Config) -> list[str]:
    return [*config.samples, *(path.stem for path in own_files(config))]
