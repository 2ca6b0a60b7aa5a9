"""What several test modules share: the reference's data, a synthetic voice for machines without it, and a browser."""

import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

pytest.register_assert_rewrite("support")

# Only from here on do asserts of support tell what they found.
from support.reference import SHARED, found  # noqa: E402
from support.workflow import finished_run  # noqa: E402

# The commands of the environment that the tests run in, also when it was not activated.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
# No test depends on how fast the machine is.
settings.register_profile("mlquant", deadline=None)
settings.load_profile("mlquant")
# No test depends on what the user has set: width of the terminal, configuration of git, hook or `make` around it.
os.environ |= {"COLUMNS": "80", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "MAKEFLAGS", "MAKELEVEL", "SNAKEMAKE_PROFILE"):
    os.environ.pop(name, None)


@pytest.hookimpl(tryfirst=True)  # before those with the marker are taken out
def pytest_collection_modifyitems(items):
    """Tests in a browser are slow: there are many, and few changes are of a page."""
    for item in items:
        if "browser" in item.fixturenames:
            item.add_marker("slow")


@pytest.fixture(scope="session")
def shared():
    """The folder of reference data beside the project."""
    if not (SHARED / "golden").is_dir():
        pytest.skip(f"needs the reference's data in {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def reference():
    """A function to the path of a file of the reference, such as golden/big_dog_b.f32."""

    def path(name):
        return found(name) or pytest.skip(f"needs the reference's {name} in {SHARED}")

    return path


@pytest.fixture
def interruptible():
    """SIGINT as a program in the foreground has it: in the background of a shell it is ignored, by children too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def voice():
    """Two seconds of voice-like sound [16000] int16: a gliding pitch under two formants, with pauses of noise."""
    rng = np.random.default_rng(7)
    n = np.arange(16000)
    pitch = 110 + 30 * np.sin(2 * np.pi * n / 9000)
    phase = 2 * np.pi * np.cumsum(pitch) / 8000
    sound = np.zeros(len(n))
    for m in range(1, 28):
        level = 1 / (1 + ((pitch * m - 600) / 300) ** 2) + 0.3 / (1 + ((pitch * m - 1800) / 300) ** 2)
        sound += level * np.cos(m * phase + m)
    sound *= (n % 5000) < 4000
    return np.rint(3000 * sound + 20 * rng.standard_normal(len(n))).astype(np.int16)


@pytest.fixture(scope="session")
def cold(tmp_path_factory):
    """The checkout in which a cold run has made everything, and that run: one for all modules and processes."""
    base = tmp_path_factory.getbasetemp()
    return finished_run(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


@pytest.fixture
def copied(cold, tmp_path):
    """A copy of the checkout in which everything has been made, to run and to edit."""
    checkout, done = cold
    assert done.status == 0, done.text
    return checkout.copy(tmp_path / "copied")


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium of the machine."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not path:
        pytest.skip("needs chromium on the PATH")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()
