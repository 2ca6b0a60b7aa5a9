"""What `make` does besides calling others: environments, help, and cleaning.

It keeps an environment that works, and makes anew one that was moved, copied, or has lost its Python.
"""

import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from support.workflow import ROOT

# In place of Python: makes environments whose pip only makes the package importable, as an editable installation does.
PYTHON = f"""#!/bin/bash -e
if [ "$2" = venv ]; then
  {sys.executable} -m venv --without-pip .venv
  mkdir -p .venv/lib/python3.{sys.version_info.minor}/site-packages/pip
  cd .venv/lib/python3.{sys.version_info.minor}/site-packages
  echo 'import os, sys; open(sys.path[-1] + "/ours.pth", "w").write(os.getcwd() + "/src")' > pip/__main__.py
else
  {sys.executable} "$@"
fi
"""
ANEW = "it is made anew"


@pytest.fixture
def checkout(tmp_path):
    """What `make` needs of the checkout, in a folder with a space in its name, and an environment made by it."""
    if not shutil.which("make"):
        pytest.skip("needs make")
    folder = tmp_path / "our checkout"
    (folder / "src/mlquant").mkdir(parents=True)
    (folder / "src/mlquant/__init__.py").touch()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    (tmp_path / "python").write_text(PYTHON, encoding="utf-8")
    (tmp_path / "python").chmod(0o755)
    assert ANEW not in made(folder)
    return folder


def made(folder, *options):
    """What `make .venv/installed` prints in a folder."""
    words = ["make", f"PYTHON={folder.parent / 'python'}", ".venv/installed", *options]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    assert done.returncode == 0, done.stderr
    return done.stdout


def place(folder):
    """The place from which an environment takes the package."""
    code = "import mlquant; print(mlquant.__path__[0])"
    words = [folder / ".venv/bin/python", "-I", "-c", code]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def test_an_environment_that_works_is_kept_and_takes_new_versions(checkout):
    assert "up to date" in made(checkout)
    assert place(checkout) == str(checkout / "src/mlquant")
    (checkout / ".venv/kept").touch()
    os.utime(checkout / "constraints.txt")
    assert ANEW not in made(checkout)
    assert (checkout / ".venv/kept").exists()


@pytest.mark.parametrize("way", [os.rename, shutil.copytree])
def test_an_environment_that_was_moved_or_copied_is_made_anew(checkout, way):
    other = checkout.parent / "other"
    way(checkout, other)
    assert made(other).count(ANEW) == 1
    assert place(other) == str(other / "src/mlquant")
    assert "up to date" in made(other)


def test_an_environment_whose_python_is_gone_is_made_anew(checkout):
    for name in ("python", "python3"):
        (checkout / ".venv/bin" / name).unlink()
        (checkout / ".venv/bin" / name).symlink_to("/no/such/python")
    assert made(checkout).count(ANEW) == 1
    assert place(checkout) == str(checkout / "src/mlquant")


def say(folder, *words, answer=""):
    """What `make` prints in a folder."""
    done = subprocess.run(["make", *words], cwd=folder, capture_output=True, text=True, input=answer)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_phase_is_a_sentence_and_the_hint_is_for_those_whom_it_helps(checkout):
    def phases(*words):
        shutil.rmtree(checkout / ".venv")
        return [line for line in made(checkout, *words).splitlines() if "pip" not in line]

    python = checkout.parent / "python"
    hint = "; without an NVIDIA GPU, make CPU=1 saves some 3 GB" if sys.platform == "linux" else ""
    environment, packages = (
        f"Environment: .venv is made with {python}.",
        "Packages: they are installed into .venv, which ",
    )
    assert phases() == [environment, f"{packages}takes minutes{hint}."]
    assert phases("CPU=1") == [environment, f"{packages}takes minutes."]
    os.utime(checkout / "constraints.txt")
    assert "3 GB" not in made(checkout), "an environment without CUDA stays without"


def test_help_names_every_target_and_variable(checkout):
    text = (checkout / "Makefile").read_text(encoding="utf-8")
    targets = set(re.search(r"^.PHONY: (.*)$", text, re.MULTILINE)[1].split()) - {"samples"}
    helped = say(checkout, "help")
    assert set(re.findall(r"^make ([a-z-]+)  ", helped, re.MULTILINE)) == targets
    assert set(re.findall(r"^  (\w+)  ", helped, re.MULTILINE)) == set(re.findall(r"^(\w+) \?=", text, re.MULTILINE))
    assert max(map(len, helped.splitlines())) <= 120


def test_clean_says_what_it_removes_and_asks_before_results_go(checkout):
    for name in (".mypy_cache", "src/mlquant/__pycache__", "results/240118_wav", ".snakemake/mlquant/settings"):
        (checkout / name).mkdir(parents=True)
    (checkout / ".snakemake/metadata").mkdir()
    assert ".venv .mypy_cache .snakemake/mlquant/settings __pycache__" in say(checkout, "clean").splitlines()[0]
    left = {str(path.relative_to(checkout)) for path in checkout.rglob("*") if path.is_dir()}
    assert left == {
        "src",
        "src/mlquant",
        "results",
        "results/240118_wav",
        ".snakemake",
        ".snakemake/metadata",
        ".snakemake/mlquant",
    }
    for answer in ("", "n\n"):
        assert "results/240118_wav" in say(checkout, "clean", "RESULTS=1", answer=answer)
        assert (checkout / "results/240118_wav").exists()
    assert "Removed: results/." in say(checkout, "clean", "RESULTS=1", answer="y\n")
    assert not (checkout / "results").exists()


# Builds an editable package that needs a torch, without any package from elsewhere.
BACKEND = """
import zipfile
def build_editable(folder, settings=None, metadata=None):
    name = "mlquant-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        for file, text in {"mlquant.pth": FOLDER + "/src", "mlquant-0.1.0.dist-info/METADATA": METADATA,
                           "mlquant-0.1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nTag: py3-none-any\\n",
                           "mlquant-0.1.0.dist-info/RECORD": ""}.items():
            wheel.writestr(file, text)
    return name
METADATA = "Metadata-Version: 2.1\\nName: mlquant\\nVersion: 0.1.0\\nProvides-Extra: dev\\n"
METADATA += "Requires-Dist: torch<3,>=2.13\\n"
"""


def offer(index, name, version, needs=()):
    """Put a wheel of a package into an index, as PEP 503 describes it."""
    folder = index / name
    folder.mkdir(parents=True, exist_ok=True)
    info, file = f"{name}-{version}.dist-info", f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(folder / file, "w") as wheel:
        lines = [
            "Metadata-Version: 2.1",
            f"Name: {name}",
            f"Version: {version}",
            *(f"Requires-Dist: {one}" for one in needs),
        ]
        wheel.writestr(f"{info}/METADATA", "\n".join(lines) + "\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    links = "".join(
        f'<a href="{path.name.replace("+", "%2B")}">{path.name}</a>' for path in sorted(folder.glob("*.whl"))
    )
    (folder / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")


@pytest.mark.slow
def test_cpu_takes_torch_from_its_own_index_and_nothing_of_cuda(tmp_path):
    """By pip itself, from folders in place of the two indexes."""
    folder, pypi, processors = (tmp_path / name for name in ("checkout", "pypi", "processors"))
    (folder / "src/mlquant").mkdir(parents=True)
    (folder / "src/mlquant/__init__.py").touch()
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "constraints.txt").write_text("torch==2.13.0\n")
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n[project]\nname = "mlquant"\n'
        'version = "0.1.0"\n'
    )
    (folder / "backend.py").write_text(f"FOLDER = {str(folder)!r}\n" + BACKEND)
    for version in ("2.13.0", "2.14.0"):
        offer(pypi, "torch", version, ["cuda"])
    offer(pypi, "cuda", "13.0")
    offer(pypi, "filelock", "3.0")
    for version in ("2.13.0+cpu", "2.14.0+cpu"):
        offer(processors, "torch", version, ["filelock"])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": pypi.as_uri()}

    def installed(*words):
        shutil.rmtree(folder / ".venv", ignore_errors=True)
        made = [f"PYTHON={sys.executable}", ".venv/installed", *words]
        done = subprocess.run(["make", *made], cwd=folder, capture_output=True, text=True, env=environment)
        words = [folder / ".venv/bin/python", "-m", "pip", "list", "--format", "freeze"]
        listed = subprocess.run(words, capture_output=True, text=True, env=environment).stdout.split()
        found = {name for name in listed if name.startswith(("torch", "cuda", "filelock", "mlquant"))}
        return done.returncode, done.stdout + done.stderr, found

    ours = "mlquant==0.1.0"
    assert installed()[::2] == (0, {ours, "torch==2.13.0", "cuda==13.0"})
    index = f"TORCH_INDEX={processors.as_uri()}"
    assert installed("CPU=1", index)[::2] == (0, {ours, "torch==2.13.0+cpu", "filelock==3.0"})
    shutil.rmtree(processors / "torch")
    status, text, found = installed("CPU=1", index)
    assert status and found == set(), text
    assert f"torch==2.13.0 for processors alone cannot be had from {processors.as_uri()}: " in text
    assert not (folder / ".venv/installed").exists()
