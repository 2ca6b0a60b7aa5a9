"""The documentation of blocks of settings: workflow/config/README.md, schema.json for editors, and keys for the help.

Run `python -m mlquant.plan.schema` in the checkout after a change of a block; a test fails while a file is out of date.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from mlquant import studies
from mlquant.chains.settings import Output, RatedChain
from mlquant.codecs.settings import Codec, ContextSettings
from mlquant.core.blocks import Block
from mlquant.core.disk import write_text
from mlquant.core.stage import range_in_words
from mlquant.experiments.settings import Experiment
from mlquant.listening.settings import KINDS as TESTS
from mlquant.networks.settings import Network
from mlquant.plan.config import ALIKE, Config
from mlquant.quantisers.settings import KINDS, CodebookStage
from mlquant.speech.settings import Corpus, HeldOutVoice, Part, Sample, SetPart, Source, TestSet, Url
from mlquant.studies import sweep
from mlquant.vocoder.settings import Features, Pitch

FOLDER = Path("workflow/config")
_LIKE = {"type": ["string", "null"], "description": "name of an entry whose settings this one takes, below its own"}

_INTRODUCTION = """\
# Every key of the configuration

`python -m mlquant.plan.schema` makes this page from the blocks of settings, and `schema.json` for editors. Do not edit
either of them.

The configuration is read from the files of this folder (sources, samples, corpora, test_sets, networks, quantisers,
experiments, sweeps, studies), then from `config.yaml`, then from the files of `--configfile`, then from `--config`.
Later files change what earlier ones say: mappings are merged, every other value is replaced. A `config.yaml` in the
working directory is read in place of that of the checkout. `few.yaml` of this folder is read after it where
`few_voices` is true. So a file of your own holds only what it changes:

```yaml
experiments:
  240118:
    outputs:
      6: {mbest: 3}
```

An entry of corpora, test_sets, networks, quantisers, experiments, sweeps, studies or listening may have the key `like`,
with the name of another entry of its section. It takes the settings of that entry, and its own replace some of them.
`base` of a sweep or study may have `like` too, with the name of a network. YAML's anchors work within one file only. A
key that stands twice in a mapping of one file is refused.

The name of an entry has up to 64 letters, digits, `_` and `-`. It needs no quotes: 240118 and "240118" are one name.
"""


def schema() -> dict[str, Any]:
    """Return the JSON schema of one file of the configuration, which may hold any part of it."""
    found = TypeAdapter(Config).json_schema()
    blocks = found["$defs"]
    network = {"$ref": "#/$defs/Network"}
    for name, block in blocks.items():
        part = {"$ref": f"#/$defs/{'SetPart' if name == 'TestSet' else 'Part'}"}
        for key, settings in block.get("properties", {}).items():
            if key == "base":
                settings |= network
            if key == "parts_with":
                settings |= part
            if key in ("rows", "parts_again"):
                settings["additionalProperties"] = network if key == "rows" else part
                settings.pop("patternProperties", None)
    for section in ALIKE:
        for name in _references(found["properties"][section]):
            blocks[name]["properties"]["like"] = _LIKE
    blocks["Network"]["properties"]["like"] = _LIKE
    # The settings of a single part, or of all voices, may stand in the set itself.
    blocks["TestSet"]["properties"] |= blocks["SetPart"]["properties"]
    outputs = blocks["Experiment"]["properties"]["outputs"]
    outputs["additionalProperties"] = {"anyOf": [outputs["additionalProperties"], {"type": "null"}]}
    return {"$schema": "http://json-schema.org/draft-07/schema#", **_loosened(found)}


def _references(value: Any) -> list[str]:
    """Return the names of the blocks that a part of a schema refers to."""
    if isinstance(value, dict):
        own = [value["$ref"].rpartition("/")[2]] if "$ref" in value else []
        return own + [name for item in value.values() for name in _references(item)]
    return [name for item in value for name in _references(item)] if isinstance(value, list) else []


def _loosened(value: Any) -> Any:
    """Return a schema for settings from several files: no key is required, and a number may stand for a text."""
    if isinstance(value, list):
        return [_loosened(item) for item in value]
    if not isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    for key, item in value.items():
        if key in ("properties", "$defs"):  # whose keys are names
            found[key] = {name: _loosened(settings) for name, settings in item.items()}
        elif key not in ("required", "title", "discriminator"):
            found["anyOf" if key == "oneOf" else key] = _loosened(item)
    if found.get("type") == "string" and not {"enum", "const"} & found.keys():
        found["type"] = ["string", "number"]
    return found


def readme() -> str:
    """Return a table of keys for each block, in Markdown, with their descriptions, defaults and ranges."""
    parts = [_INTRODUCTION, _section("Top level", Config)]
    parts += [_section("features", Features)]
    parts += [_section("sources", Source, "by name"), _section("Urls of a source", Url, level=3)]
    parts += [_section("samples", Sample, "by name")]
    parts += [_section("held_out_voices", HeldOutVoice, "by name")]
    parts += [_section("corpora", Corpus, "by name"), _section("Parts of a corpus", Part, level=3)]
    parts += [_section("test_sets", TestSet, "by name"), _section("Parts of a test set", SetPart, level=3)]
    parts += [_section("networks", Network, "by name")]
    parts += ["## quantisers, by name\n\nThe keys depend on its `kind`.\n"]
    parts += [_section(f"kind: {kind}", block, level=3) for kind, block in KINDS.items()]
    parts += [_section("Stages of a quantiser", CodebookStage, level=3)]
    parts += [_section("codecs", Codec, "by name"), _section("Pitch of a codec", Pitch, level=3)]
    parts += [_section("Context network of a codec", ContextSettings, level=3)]
    parts += [_section("experiments", Experiment, "by name"), _section("Outputs of an experiment", Output, level=3)]
    parts += [_section("sweeps", sweep.Settings, "by name")]
    parts += ["## studies, by name\n\nThe keys depend on its `kind`.\n"]
    parts += [_section(f"kind: {kind}", module.Settings, level=3) for kind, module in studies.kinds().items()]
    parts += [_section("Chains of a study of kind bits", RatedChain, level=3)]
    parts += ["## listening, by name\n\nThe keys depend on its `kind`.\n"]
    parts += [_section(f"kind: {kind}", block, level=3) for kind, block in TESTS.items()]
    return "\n".join(parts)


def _section(title: str, block: type[Block], by: str = "", level: int = 2) -> str:
    about = _cell(" ".join(str(block.__doc__).split()))
    lines = [f"{'#' * level} {', '.join(filter(None, [title, by]))}", "", about, ""]
    lines += ["| key | what it is | default | range |", "| --- | --- | --- | --- |"]
    for key in keys_of(TypeAdapter(block).json_schema()):
        default = key.default if key.default in ("", "required") else f"`{key.default}`"
        lines.append(f"| `{key.name}` | {_cell(key.about)} | {default} | {_cell(key.range)} |")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Key:
    """A key of a block: what it is, its default ("" for none, or "required") and its range, in words."""

    name: str
    about: str
    default: str
    range: str


def keys_of(found: dict[str, Any]) -> list[Key]:
    """Return the keys of a block from its JSON schema; those that are required come first."""
    required = found.get("required", [])
    properties = {name: one for name, one in found["properties"].items() if name != "step" or "const" not in one}
    names = [*(name for name in properties if name in required), *(name for name in properties if name not in required)]
    return [
        Key(
            name,
            _description(properties[name]),
            "required" if name in required else _default(properties[name].get("default")),
            _range(properties[name]),
        )
        for name in names
    ]


def listed(name: str) -> list[tuple[str, str, list[Key]]]:
    """Return title, description and keys of the blocks that a JSON object has: see `Setting.block`.

    Behind each block come those that its keys hold.
    """
    module, _, attribute = name.partition(":")
    blocks = getattr(importlib.import_module(module), attribute)
    found: dict[str, tuple[str, str, list[Key]]] = {}
    for title, block in ({"": blocks} if isinstance(blocks, type) else blocks()).items():
        schema = TypeAdapter(block).json_schema()
        parts = {title: schema, **_inner(schema, schema.get("$defs", {}))}
        for place, part in parts.items():
            about = " ".join(part.get("description", "").split())
            found.setdefault(place, (place, about, keys_of(part)))
    return [one for one in found.values() if one[2]]


def _inner(schema: dict[str, Any], defined: dict[str, Any]) -> dict[str, Any]:
    """Return the schemas of the blocks that the keys of a block hold, at any depth, by titles that name the key."""
    found: dict[str, Any] = {}
    for key, settings in schema.get("properties", {}).items():
        for name in _references(settings):
            if "properties" in defined.get(name, {}):
                found |= {key: defined[name]} | _inner(defined[name], defined)
    return found


@cache
def helps(name: str) -> dict[str, str]:
    """Return what each key is, of the blocks that a JSON object has (see `Setting.block`), also with their titles."""
    found: dict[str, str] = {}
    for title, _, keys in reversed(listed(name)):
        found |= {name: key.about for key in keys for name in (key.name, f"{title}.{key.name}")}
    return found


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "\\<")


def _default(value: Any) -> str:
    return "" if value is None or value == "" else json.dumps(value)


def _description(settings: dict[str, Any]) -> str:
    inner = [item["description"] for item in settings.get("anyOf", ()) if "description" in item]
    return settings.get("description") or next(iter(inner), "")


def _range(settings: dict[str, Any]) -> str:
    """Return in words which values a key may have."""
    if "anyOf" in settings or "oneOf" in settings:
        choices = [item for item in settings.get("anyOf") or settings["oneOf"] if item.get("type") != "null"]
        return " or ".join(dict.fromkeys(filter(None, map(_range, choices))))
    if "const" in settings:
        return f"`{settings['const']}`"
    if "enum" in settings:
        return ", ".join(f"`{value}`" for value in settings["enum"])
    if "$ref" in settings:
        return "settings"
    kind = settings.get("type", "")
    if kind == "array":
        few = settings.get("minItems", 0) == settings.get("maxItems")
        items = _range(settings["items"])
        return f"{settings['minItems'] if few else 'a list'}{f' of: {items}' if items else ''}"
    if kind == "object":
        return "settings by name"
    bounds = {name: settings[key] for name, key in _BOUNDS.items() if key in settings}
    return range_in_words(_TYPES.get(kind, Path), **bounds)


_TYPES = {"integer": int, "number": float, "boolean": bool, "string": str}
_BOUNDS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}


def main() -> None:
    """Write README.md and schema.json."""
    write_text(FOLDER / "README.md", readme())
    write_text(FOLDER / "schema.json", json.dumps(schema(), indent=1) + "\n")


if __name__ == "__main__":
    main()
