"""Versions: ranges are in pyproject.toml, and exact pins in constraints.txt, which the conda environment repeats."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if line[0] != "#")


@pytest.mark.parametrize("text", [*PROJECT["dependencies"], *(text for extra in EXTRAS.values() for text in extra)])
def test_a_package_is_a_range_in_pyproject_and_its_pin_lies_in_that_range(text):
    requirement = Requirement(text)
    assert {specifier.operator for specifier in requirement.specifier} == {">=", "<"}
    assert requirement.specifier.contains(PINS[requirement.name])


def test_the_conda_environment_has_the_pins_of_all_that_the_package_needs():
    conda = yaml.safe_load((ROOT / "envs/mlquant.yaml").read_text())["dependencies"][-1]["pip"]
    needed = [Requirement(text).name for text in PROJECT["dependencies"]]
    assert conda == [f"{name}=={PINS[name]}" for name in needed]


def test_the_conda_environment_installs_the_pinned_pesq():
    (installed,) = re.findall(r"pesq==([0-9.]+)", (ROOT / "envs/mlquant.post-deploy.sh").read_text())
    assert installed == PINS["pesq"]


def test_there_is_one_pin_a_package():
    assert len(PINS) == sum("==" in line for line in (ROOT / "constraints.txt").read_text().splitlines())
