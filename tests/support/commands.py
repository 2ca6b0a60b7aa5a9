"""Commands of mlquant, run in this process."""

import io
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import pytest

from mlquant import cli


@dataclass
class Ended:
    """How a command ended: its exit status, and the lines it wrote."""

    status: int
    err: list[str]
    out: str


def run(*words, cwd=None):
    """A command in this process; whatever would be a traceback is raised here."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["mlquant", *map(str, words)])
        if cwd:
            patch.chdir(cwd)
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            try:
                cli.main()
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else 1
                if isinstance(end.code, str):
                    print(end.code, file=err)
    return Ended(status, err.getvalue().splitlines(), out.getvalue())


def fails(*words, cwd=None):
    """The only line of a command that ends with exit status 1."""
    ended = run(*words, cwd=cwd)
    assert ended.status == 1 and len(ended.err) == 1, ended
    return ended.err[0]


def succeeds(*words, cwd=None):
    ended = run(*words, cwd=cwd)
    assert ended.status == 0, ended.err
    return ended
