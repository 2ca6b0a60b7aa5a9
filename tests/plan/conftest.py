import pytest


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    """Relative paths of a configuration, such as that of the speech folder, lead to an empty folder."""
    monkeypatch.chdir(tmp_path)
