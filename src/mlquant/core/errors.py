"""The one kind of error that a user meets, and messages of progress: one line each."""

from __future__ import annotations

import re
import sys


class InputError(Exception):
    """Input that cannot be used. Its text is one line: the file or key, what was found, what was expected.

    Characters that cannot be printed are escaped, and the middle of a long line is left out.
    """

    def __init__(self, text: str):
        line = one_line(text)
        super().__init__(line if len(line) <= 600 else f"{line[:400]} ... {line[-190:]}")


def one_line(text: str) -> str:
    """Return text with escapes for all that cannot be printed or is not UTF-8, fit for a message and a file name."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def log(message: str) -> None:
    """Write one line of progress to stderr."""
    print(message, file=sys.stderr, flush=True)


def progress(message: str, done: bool) -> None:
    """Report on long work: one line that is rewritten on a terminal, a line each time in a log."""
    if sys.stderr.isatty():
        print(f"\r{message}\033[K", end="\n" if done else "", file=sys.stderr, flush=True)
    else:
        log(message)


def markdown(text: str) -> str:
    """Return text as one line of Markdown that shows it unchanged, also in a cell of a table."""
    return re.sub(r"[\\`|<\[]", r"\\\g<0>", " ".join(text.split()))
