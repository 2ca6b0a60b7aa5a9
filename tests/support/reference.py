"""Where the reference's files are: a sample of them in tests/data, all of them in ../shared beside the project."""

from pathlib import Path

DATA = Path(__file__).resolve().parents[1] / "data"
SHARED = Path(__file__).resolve().parents[3] / "shared"


def found(name):
    """The path of a file such as golden/big_dog_b.f32; None where there is no such file."""
    return next((folder / name for folder in (DATA, SHARED) if (folder / name).exists()), None)
