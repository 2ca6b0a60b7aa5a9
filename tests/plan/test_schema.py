"""The documentation of the configuration is that of its blocks, and complete."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from mlquant.plan import schema

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = schema.schema()
FILES = [ROOT / "config.yaml", *sorted((ROOT / "workflow/config").glob("*.yaml"))]


def test_the_readme_and_the_schema_are_those_of_the_blocks():
    hint = "run python -m mlquant.plan.schema"
    assert (ROOT / schema.FOLDER / "README.md").read_text(encoding="utf-8") == schema.readme(), hint
    assert json.loads((ROOT / schema.FOLDER / "schema.json").read_text(encoding="utf-8")) == SCHEMA, hint


def test_every_key_of_every_block_has_a_description():
    blocks = SCHEMA["$defs"]
    keys = {(name, key): about for name, block in blocks.items() for key, about in block["properties"].items()}
    lack = [
        key
        for key, about in keys.items()
        if not about.get("description") and not any("description" in choice for choice in about.get("anyOf", ()))
    ]
    assert len(keys) > 100 and not lack


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_of_the_configuration_names_the_schema_and_follows_it(path):
    text = path.read_text(encoding="utf-8")
    named = text.splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / named).resolve() == ROOT / schema.FOLDER / "schema.json"
    jsonschema.validate(json.loads(json.dumps(yaml.safe_load(text))), SCHEMA)


@pytest.mark.parametrize(
    "overlay",
    [
        {"experiments": {"240118": {"outputs": {"6": {"mbest": 3}, "7": None}}}},
        {"networks": {"a": {"like": "nn4_cat1", "d": 8}}},
        {"sweeps": {"s": {"base": {"like": "nn4_cat1"}, "rows": {"a": {"d": 8}}}}},
        {"corpora": {"few": {"parts": {"own": {"files": "voices"}}, "parts_again": {"low": {"resample": [0.9]}}}}},
    ],
)
def test_a_file_that_changes_one_thing_follows_the_schema(overlay):
    jsonschema.validate(overlay, SCHEMA)


@pytest.mark.parametrize(
    "mistake",
    [
        {"experiments": {"240118": {"outputs": [{"index": 6}]}}},
        {"experiments": {"240118": {"outputs": {"6": {"m_best": 3}}}}},
        {"networks": {"a": {"epochs": 0}}},
        {"sweeps": {"s": {"rows": {"a": {"dd": 8}}}}},
        {"corpora": {"few": {"parts_with": {"minute": 3}}}},
        {"quantisers": {"q": {"kind": "ball"}}},
        {"speach_dir": "x"},
    ],
)
def test_a_mistake_does_not(mistake):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(mistake, SCHEMA)


def test_config_yaml_stays_short():
    assert len(FILES[0].read_text(encoding="utf-8").splitlines()) <= 130
