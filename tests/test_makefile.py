"""`make` keeps an environment that works, and makes anew one that was moved, copied, or has lost its Python."""

import os
import shutil
import subprocess
import sys

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
