"""The documentation of the configuration, made from its blocks: workflow/config/README.md, and schema.json for editors.

Run `python -m mlquant.plan.schema` in the checkout after a change of a block; a test fails while a file is out of date.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from mlquant import studies
from mlquant.chains.settings import Output, RatedChain
from mlquant.core.blocks import Block
from mlquant.core.disk import write_text
from mlquant.experiments.settings import Experiment
from mlquant.networks.settings import Network
from mlquant.plan.config import ALIKE, Config
from mlquant.quantisers.settings import KINDS, CodebookStage
from mlquant.speech.settings import Corpus, Part, Sample, Source, Url
from mlquant.studies import sweep
from mlquant.vocoder.settings import Features

FOLDER = Path("workflow/config")
_INT_MAX = 1 << 31  # larger bounds are those of the machine, and are left out
_LIKE = {"type": ["string", "null"], "description": "name of an entry whose settings this one takes, below its own"}

_INTRODUCTION = """\
# Every key of the configuration

`python -m mlquant.plan.schema` makes this page from the blocks of settings, and `schema.json` for editors. Do not edit
either of them.

The configuration is read from the files of this folder (sources, samples, corpora, networks, quantisers, experiments,
sweeps, studies), then from `config.yaml`, then from the files of `--configfile`, then from `--config`. Later files
change what earlier ones say: mappings are merged, every other value is replaced. A `config.yaml` in the working
directory is read in place of that of the checkout. So a file of your own holds only what it changes:

```yaml
experiments:
  240118:
    outputs:
      6: {mbest: 3}
```

An entry of corpora, networks, quantisers, experiments, sweeps or studies may have the key `like`, with the name of
another entry of its section. It takes the settings of that entry, and its own replace some of them. `base` of a sweep
or study may have `like` too, with the name of a network. YAML's anchors work within one file only. A key that stands
twice in a mapping of one file is refused.

The name of an entry has up to 64 letters, digits, `_` and `-`. It needs no quotes: 240118 and "240118" are one name.
"""


def schema() -> dict[str, Any]:
    """Return the JSON schema of one file of the configuration, which may hold any part of it."""
    found = TypeAdapter(Config).json_schema()
    blocks = found["$defs"]
    network = {"$ref": "#/$defs/Network"}
    for block in blocks.values():
        for key, settings in block.get("properties", {}).items():
            if key == "base":
                settings |= network
            if key == "parts_with":
                settings |= {"$ref": "#/$defs/Part"}
            if key in ("rows", "parts_again"):
                settings["additionalProperties"] = network if key == "rows" else {"$ref": "#/$defs/Part"}
                settings.pop("patternProperties", None)
    for section in ALIKE:
        for name in _references(found["properties"][section]):
            blocks[name]["properties"]["like"] = _LIKE
    blocks["Network"]["properties"]["like"] = _LIKE
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
    parts += [_section("corpora", Corpus, "by name"), _section("Parts of a corpus", Part, level=3)]
    parts += [_section("networks", Network, "by name")]
    parts += ["## quantisers, by name\n\nThe keys depend on its `kind`.\n"]
    parts += [_section(f"kind: {kind}", block, level=3) for kind, block in KINDS.items()]
    parts += [_section("Stages of a quantiser", CodebookStage, level=3)]
    parts += [_section("experiments", Experiment, "by name"), _section("Outputs of an experiment", Output, level=3)]
    parts += [_section("sweeps", sweep.Settings, "by name")]
    parts += ["## studies, by name\n\nThe keys depend on its `kind`.\n"]
    parts += [_section(f"kind: {kind}", module.Settings, level=3) for kind, module in studies.kinds().items()]
    parts += [_section("Chains of a study of kind bits", RatedChain, level=3)]
    return "\n".join(parts)


def _section(title: str, block: type[Block], by: str = "", level: int = 2) -> str:
    found = TypeAdapter(block).json_schema()
    required = found.get("required", [])
    properties = found["properties"]
    keys = [*(key for key in properties if key in required), *(key for key in properties if key not in required)]
    about = _cell(" ".join(str(block.__doc__).split()))
    lines = [f"{'#' * level} {', '.join(filter(None, [title, by]))}", "", about, ""]
    lines += ["| key | what it is | default | range |", "| --- | --- | --- | --- |"]
    for key in keys:
        default = "required" if key in required else _default(properties[key].get("default"))
        about, values = _description(properties[key]), _range(properties[key])
        lines.append(f"| `{key}` | {_cell(about)} | {default} | {_cell(values)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "\\<")


def _default(value: Any) -> str:
    return "" if value is None or value == "" else f"`{json.dumps(value)}`"


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
    kind = settings.get("type")
    if kind in ("integer", "number"):
        return " ".join(["a whole number" if kind == "integer" else "a number", *_bounds(settings)])
    if kind == "array":
        few = settings.get("minItems", 0) == settings.get("maxItems")
        return f"{settings['minItems'] if few else 'a list'} of: {_range(settings['items'])}"
    return {"boolean": "`true`, `false`", "string": "text", "object": "settings by name"}.get(kind or "", "")


def _bounds(settings: dict[str, Any]) -> list[str]:
    found = []
    low, above = settings.get("minimum"), settings.get("exclusiveMinimum")
    high, below = settings.get("maximum"), settings.get("exclusiveMaximum")
    if settings["type"] == "integer" and above is not None:
        low, above = above + 1, None
    if low is not None and high is not None:
        return [f"{low:g} to {high:,}".replace(",", " ")]
    found += [f"from {low:g}"] if low is not None else [f"more than {above:g}"] if above is not None else []
    found += [f"up to {high:g}"] if high is not None else []
    found += [f"less than {below:g}"] if below is not None and below < _INT_MAX else []
    return [" and ".join(found)] if found else []


def main() -> None:
    """Write README.md and schema.json."""
    write_text(FOLDER / "README.md", readme())
    write_text(FOLDER / "schema.json", json.dumps(schema(), indent=1) + "\n")


if __name__ == "__main__":
    main()
