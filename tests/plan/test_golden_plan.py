"""The plan of the configuration of the repository is the one that is written down in tests/data/plan.json.

It has a line for each node: its folder without the key, and a short hash of its settings and inputs, in which names
stand in place of keys. A change of the program that must change no result leaves it as it is. After a change that is
meant, write it anew with: python tests/plan/test_golden_plan.py
"""

import hashlib
import json
import re
from collections import defaultdict
from pathlib import Path

from mlquant.plan import config
from mlquant.plan.plan import Plan

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "data" / "plan.json"
KEY = re.compile(r"\.[0-9a-f]{8}(?![0-9a-zA-Z_-])")


def named(value):
    """The same with no keys in the names of folders."""
    if isinstance(value, str):
        return KEY.sub("", value)
    if isinstance(value, dict):
        return {named(key): named(item) for key, item in value.items()}
    return [named(item) for item in value] if isinstance(value, list | tuple) else value


def digest(value):
    return hashlib.sha256(json.dumps(named(value), sort_keys=True).encode()).hexdigest()[:8]


def what_defines(node):
    """Settings and inputs of a node. What only records what is behind it is left out: that is in other nodes."""
    recorded = {"measures": ("stages",), "experiments": ("definitions",)}.get(node.kind, ())
    return [{name: value for name, value in node.settings.items() if name not in recorded}, node.inputs]


def dumped(plan):
    nodes = defaultdict(list)
    for folder, node in plan.nodes.items():
        nodes[named(folder.removeprefix("results/"))].append(digest(what_defines(node)))
    return {
        "nodes": {name: " ".join(sorted(found)) for name, found in sorted(nodes.items())},
        "sweeps": {name: digest([summary.settings, summary.files]) for name, summary in plan.sweeps.items()},
        "studies": {name: digest([summary.settings, summary.files]) for name, summary in plan.studies.items()},
    }


def the_plan():
    return Plan(config.load(config.read(ROOT)))


def test_the_plan_of_the_configuration_is_the_one_written_down(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where there is no speech of one's own
    found, expected = dumped(the_plan()), json.loads(GOLDEN.read_text(encoding="utf-8"))
    for part, entries in expected.items():
        changed = {name for name in {*entries, *found[part]} if entries.get(name) != found[part].get(name)}
        assert not changed, f"{len(changed)} {part} are others, such as {sorted(changed)[:5]}"


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(dumped(the_plan()), indent=0) + "\n", encoding="utf-8")
