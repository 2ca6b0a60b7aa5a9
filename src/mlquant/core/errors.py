"""The one kind of error that a user meets, and messages of progress: one line each."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterable, Iterator

_MOST = 20  # most faults of one input that are told


class InputError(Exception):
    """Input that cannot be used. Its text is one line: the file or key, what was found, what was expected.

    Characters that cannot be printed are escaped, and the middle of a long line is left out.
    """

    def __init__(self, text: str):
        line = one_line(text)
        super().__init__(line if len(line) <= 600 else f"{line[:400]} ... {line[-190:]}")

    @property
    def lines(self) -> list[str]:
        """The faults, a line each."""
        return str(self).split("\n")


class InputErrors(InputError):
    """Several faults of one input: a line for each of the first 20, and one that says how many more there are."""

    def __init__(self, faults: Iterable[str]):
        lines = list(dict.fromkeys(str(InputError(fault)) for fault in faults))
        more = [f"and {len(lines) - _MOST} more"] if len(lines) > _MOST else []
        Exception.__init__(self, "\n".join(lines[:_MOST] + more))
        self._lines = lines

    @property
    def lines(self) -> list[str]:
        return self._lines


class UnknownName(InputError):
    """A name that is not that of an entry of the configuration; `name` is this name."""

    def __init__(self, text: str, name: str):
        super().__init__(text)
        self.name = name


class Faults(list[str]):
    """The faults of one input that were found so far, a line each, so that they can be told all at once.

    `broken` holds the names of entries that have a fault of their own. What follows from that is not told: neither that
    the name is unknown, nor a KeyError of a check that looks the entry up.
    """

    def __init__(self) -> None:
        super().__init__()
        self.broken: set[str] = set()

    @contextlib.contextmanager
    def gathered(self, entry: str | None = None) -> Iterator[None]:
        """Note an InputError that is raised within; `entry` is the name of an entry that is broken by it."""
        try:
            yield
        except InputError as error:
            if not (isinstance(error, UnknownName) and error.name in self.broken):
                self.extend(error.lines)
            self.broken |= {entry} if entry else set()
        except KeyError:
            if not self:
                raise

    def tell(self) -> None:
        """Raise InputError with all faults, if there are any."""
        if self:
            raise InputErrors(self)


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
