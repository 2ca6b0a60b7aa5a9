"""What a run of the workflow shows, as a logger plugin of Snakemake: `logger: mlquant` in the profiles.

On a terminal one line is updated: how many jobs are done, which ones run, and of a training the epoch and the time that
remains. Elsewhere each job that begins has a line, and what runs is said once a minute. A dry run shows a reason of one
line for each job. A job that fails shows the last lines of its log. Snakemake's own log, .snakemake/log/, has all of it
in full. With --verbose or --debug-dag Snakemake's own words are shown here too.
"""

from __future__ import annotations

import contextlib
import glob
import logging
import os
import re
import sys
import textwrap
import threading
import time
from dataclasses import dataclass, field

from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

SHOWN = ("sweep", "compare", "fetch_optional")
"""Rules whose log is shown when a job has ended: a table, a comparison, or a warning."""

_LIVE_SECONDS, _PLAIN_SECONDS = 1.0, 60.0  # between two looks at what runs
_LAST = 12  # lines of a log that are shown
_LONGEST = 1000  # characters of such a line
_PLAIN_WIDTH = 160  # of a line with a reason where there is no terminal
_TAIL = 4096  # bytes at the end of a log in which an epoch is looked for
_EPOCH = re.compile(r"^epoch (\d+)/(\d+)\b", re.MULTILINE)
_KEY = re.compile(r"\.[0-9a-f]{8}\b")
# The end of what Python says of a command that failed; before it stands the command, with all of its words.
_COMMAND_FAILED = re.compile(r"CalledProcessError.*(exit status \d+|died with .*?)\.?\s*$", re.DOTALL)
# What Snakemake says of its own work, besides events.
_OWN_WORDS = (
    "Assuming ", "Building DAG", "Complete log", "Conda environments:", "DAG of jobs will be updated", "Execute ",
    "Exiting because a job", "Finished retrieval", "Finished upload", "Group jobs: inactive", "Reasons:",
    "Removing local copy", "Removing output files of failed job", "Retrieving ", "Rules with provenance triggered",
    "Select jobs", "Shutting down", "Singularity containers:", "Some jobs were triggered by provenance", "Storing ",
    "The run involves", "Updating checkpoint", "Using shell:",
)  # fmt: skip
_OWN_EVENTS = (
    LogEvent.WORKFLOW_STARTED, LogEvent.RESOURCES_INFO, LogEvent.JOB_STARTED, LogEvent.GROUP_INFO, LogEvent.RULEGRAPH,
)  # fmt: skip


@dataclass
class Job:
    """A job that runs. `epochs` are the epochs that its log told of, each with the time when it was seen."""

    id: int
    rule: str
    message: str
    logs: list[str]
    started: float = field(default_factory=time.time)
    epochs: dict[int, float] = field(default_factory=dict)
    last: int = 0  # the last epoch that there will be

    def look(self) -> None:
        """Read the present epoch from the end of its log, if it has one."""
        for path in self.logs:
            try:
                if os.stat(path).st_mtime < self.started - 1:  # that of an earlier run
                    continue
                with open(path, "rb") as file:
                    file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
                    found = _EPOCH.findall(file.read().decode("utf-8", "replace"))
            except OSError:
                continue
            if found:
                epoch, self.last = map(int, found[-1])
                self.epochs.setdefault(epoch, time.time())

    def text(self) -> str:
        """Return what it does, with the epoch and the time that remains."""
        told = _KEY.sub("", self.message)
        if not self.epochs:
            return told
        epoch, since = max(self.epochs.items())
        told += f": epoch {epoch}/{self.last}"
        first, began = min(self.epochs.items())
        if first == epoch:  # a training that goes on from a checkpoint has no epoch 0
            first, began = 0, self.started
        rate = (since - began) / (epoch - first) if epoch > first else 0.0
        left = rate * (self.last - epoch) - (time.time() - since)
        return f"{told}, {duration(left)} left" if rate and left >= 1 else told


class LogHandler(LogHandlerBase):
    """Writes what Snakemake says to the terminal, or to the log of a server or cluster."""

    writes_to_stream, writes_to_file, has_filter, has_formatter, needs_rulegraph = True, False, False, False, False

    def __post_init__(self) -> None:
        settings = self.common_settings
        self.stream = sys.stdout if settings.stdout else sys.stderr
        self.quiet = set(settings.quiet or ())
        terminal = self.stream.isatty() and os.environ.get("TERM") != "dumb"
        self.width = _width(self.stream) if terminal else None
        self.coloured = terminal and not settings.nocolor and not os.environ.get("NO_COLOR")
        self.live = terminal and not settings.dryrun and not self.quiet & {Quietness.PROGRESS, Quietness.ALL}
        self.in_full = settings.verbose or settings.debug_dag
        self.running: dict[int, Job] = {}
        self.failed: dict[int, str] = {}
        self.failures: list[str] = []  # what Python said of commands
        self.done = self.total = 0
        self.drawn = False  # whether the updated line stands on the screen
        self.said = time.monotonic()
        self.log = ""
        self.seen_stats = False
        self.ended = threading.Event()
        self.timer: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record, or what it changes in the updated line."""
        try:
            if self.in_full:
                self._say(self.format(record))
                return
            event = getattr(record, "event", None)
            show = getattr(self, f"_{event}", None) if event else None
            if show:
                show(record)
            elif event not in _OWN_EVENTS:
                self._message(record)
            self._draw()
        except OSError:  # a pipe whose reader has gone
            pass
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        self.ended.set()
        if self.timer:
            self.timer.join(timeout=2 * _LIVE_SECONDS)
        with contextlib.suppress(OSError, ValueError):  # the stream is gone
            self._clear()
        super().close()

    # --- events, by the names that Snakemake gives them ---------------------------------------------------

    def _run_info(self, record: logging.LogRecord) -> None:
        stats = dict(record.stats)
        self.total = stats.pop("total", sum(stats.values()))
        if self.common_settings.dryrun:  # it is told before the jobs and after them
            if self.seen_stats:
                self._say(record.getMessage().rstrip())
            self.seen_stats = True
            return
        sources = stats.get("fetch", 0) + stats.get("fetch_optional", 0)
        if sources:
            are = "is" if sources == 1 else "are"
            self._say(
                f"Speech: {_counted(sources, 'source')} {are} obtained, from Debian's archive or other addresses."
            )
        if self.width:
            jobs = ", ".join(f"{count} {rule}" for rule, count in stats.items())
            self._say(textwrap.fill(f"Run: {_counted(self.total, 'job')}: {jobs}.", self.width - 1))
        else:
            self._say(record.getMessage().rstrip())

    def _job_info(self, record: logging.LogRecord) -> None:
        message = record.rule_msg
        if not (message or record.shellcmd):  # a target, for which nothing is run
            return
        message = message or f"rule {record.rule_name}"
        if self.common_settings.dryrun:
            self._say(f"Job {record.jobid}: {message}")
            if record.reason and Quietness.REASON not in self.quiet:
                self._say(_cut(f"    Reason: {short(record.reason)}", self.width or _PLAIN_WIDTH))
            return
        self.failed.pop(record.jobid, None)
        brief = message.partition("; progress in ")[0]
        self.running[record.jobid] = Job(record.jobid, record.rule_name, brief, [_local(path) for path in record.log])
        if not self.live:
            self._say(f"Job {record.jobid}: {message} ({self.done} of {self.total} done)")
        if not self.timer and Quietness.PROGRESS not in self.quiet:
            self.timer = threading.Thread(target=self._look, daemon=True)
            self.timer.start()

    def _shellcmd(self, record: logging.LogRecord) -> None:
        self._say(str(getattr(record, "cmd", None) or record.getMessage()))

    def _job_finished(self, record: logging.LogRecord) -> None:
        job = self.running.pop(record.job_id, None)
        if job and job.rule in SHOWN:
            for path in job.logs:
                with contextlib.suppress(OSError):
                    text = _lines(path)
                    if text:
                        self._say("\n".join(text))

    def _progress(self, record: logging.LogRecord) -> None:
        self.done, self.total = record.done, record.total
        if not self.live and Quietness.RULES in self.quiet:
            self._say(f"{self.done} of {_counted(self.total, 'job')} done")

    def _job_error(self, record: logging.LogRecord) -> None:
        job = self.running.pop(record.jobid, None)
        if record.indent and (not any(map(os.path.exists, map(_local, record.log))) or _made(record.output)):
            return  # of a group, which tells of all of its jobs: it had not begun, or had ended well
        message = job.message if job else ""
        self.failed[record.jobid] = message or record.rule_name
        ends = [_COMMAND_FAILED.search(text)[1] for text in self.failures if (record.shellcmd or "\0") in text]
        head = f"Error in rule {record.rule_name}, job {record.jobid}"
        self._say(head + (f": {message}" if message else "") + (f" ({ends[-1]})" if ends else ""), "31")
        told = [str(record.rule_msg)] if record.rule_msg else []
        told += [f"{name}: {value}" for name, value in (record.aux or {}).items()]
        self._say_indented(told)
        self._say_ends(record.log)

    def _group_error(self, record: logging.LogRecord) -> None:
        self._say(f"Error in group {record.groupid}", "31")
        self._say_ends(record.aux_logs)

    def _error(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if _COMMAND_FAILED.search(text):  # the job's own error follows
            self.failures.append(text)
        elif not (self.failed and "At least one job did not complete successfully" in text):
            self._say(text, "31")

    def _message(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno > logging.INFO and not text.startswith("Exiting because a job"):
            self._say(text, "31" if record.levelno >= logging.ERROR else "33")
        elif text.startswith("Complete log"):
            self.log = os.path.relpath(text.rpartition(": ")[2])
        elif text.startswith("Elapsed time: "):
            self._end(text.partition(": ")[2])
        elif text not in ("", "None") and not text.startswith(_OWN_WORDS):
            self._say(text)

    def _end(self, elapsed: str) -> None:
        """Say how the run ended; `elapsed` is as Python writes a timedelta."""
        days, _, clock = elapsed.rpartition(", ")
        hours, minutes, seconds = map(float, clock.split(":"))
        took = duration(((int(days.partition(" ")[0] or 0) * 24 + hours) * 60 + minutes) * 60 + seconds)
        if self.failed:
            names = "; ".join([*self.failed.values()][:_LAST]) + (" ..." if len(self.failed) > _LAST else "")
            jobs = _counted(self.total, "job")
            self._say(f"{self.done} of {jobs} done, {len(self.failed)} failed: {names}.", "31")
        elif self.done < self.total:
            self._say(f"{self.done} of {_counted(self.total, 'job')} done in {took}.")
        else:
            self._say(f"{_counted(self.done, 'job')} done in {took}.")
        if self.log:
            self._say(f"All that Snakemake said is in {self.log}.")

    # --- the screen ---------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Look at what runs, again and again, until the run has ended."""
        while not self.ended.wait(_LIVE_SECONDS if self.live else _PLAIN_SECONDS / 4):
            self.acquire()
            try:
                if self.ended.is_set():
                    return
                for job in [*self.running.values()]:
                    job.look()
                if self.live:
                    self._draw()
                elif self.running and time.monotonic() - self.said >= _PLAIN_SECONDS:
                    self._say(self._status(4 * _PLAIN_WIDTH))
            except (OSError, ValueError):  # the stream is gone
                return
            finally:
                self.release()

    def _status(self, width: int) -> str:
        """Return one line of at most so many characters on what is done and what runs; trainings stand first."""
        failed = f", {len(self.failed)} failed" if self.failed else ""
        line = f"{self.done} of {_counted(self.total, 'job')}{failed}"
        jobs = sorted(self.running.values(), key=lambda job: not job.epochs)
        for i, job in enumerate(jobs):
            text = ("; " if i else ": ") + job.text()
            rest = f"; {len(jobs) - i - 1} more" if i + 1 < len(jobs) else ""
            if i and len(line + text + rest) > width:
                return _cut(f"{line}; {len(jobs) - i} more", width)
            line += text
        return _cut(line, width)

    def _draw(self) -> None:
        if self.live and (self.running or Quietness.RULES in self.quiet) and not self.ended.is_set():
            # The cursor goes back to the first column, so that what another program writes begins there.
            self.stream.write(f"\r{self._status(_width(self.stream) - 1)}\033[K\r")
            self.stream.flush()
            self.drawn = True
        else:
            self._clear()

    def _clear(self) -> None:
        if self.drawn:
            self.stream.write("\r\033[K")
            self.stream.flush()
            self.drawn = False

    def _say(self, text: str, colour: str = "") -> None:
        """Write lines above the updated line."""
        if not text:
            return
        self._clear()
        self.stream.write(f"\033[{colour}m{text}\033[0m\n" if colour and self.coloured else f"{text}\n")
        self.stream.flush()
        self.said = time.monotonic()

    def _say_indented(self, lines: list[str]) -> None:
        self._say("\n".join(f"    {_cut(line, _LONGEST)}" for line in lines))

    def _say_ends(self, logs: list[str]) -> None:
        """Show the last lines of logs, each with its path."""
        for path in map(_local, logs):
            try:
                lines = _lines(path)
            except OSError:
                self._say(f"  log: {path}, which is not there")
                continue
            cut = f", the last {_LAST} of its {len(lines)} lines" if len(lines) > _LAST else ""
            self._say(f"  log: {path}{cut}:" if lines else f"  log: {path}, which is empty")
            self._say_indented(lines[-_LAST:])


def short(reason: str) -> str:
    """Return the reasons of a job on one line, of files the first and how many more; what follows is left out."""
    reasons = " ".join(reason.split()).split("; ")
    told = [text for text in reasons if not text.startswith("Input files updated by another job")] or reasons[:1]
    for i, text in enumerate(told):
        first, *others = text.split(", ")
        if others and re.match(r"[A-Z][a-z ]*files[a-z ]*: ", text):
            told[i] = f"{first} and {len(others)} more"
    return "; ".join(told)


def duration(seconds: float) -> str:
    """Return a time in words, rounded to what one waits by."""
    minutes, whole = divmod(max(0, round(seconds)), 60)
    if not minutes:
        return f"{whole} s"
    if minutes < 2:
        return f"{minutes} min {whole} s"
    hours, minutes = divmod(minutes + (whole >= 30), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _counted(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else f"{line[: width - 4]} ..."


def _width(stream: object) -> int:
    """Return the columns of a terminal, 80 where it tells none."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def _local(path: str) -> str:
    """Return the local path of a file that Snakemake tells of, as "s3://x/results/a.log (send to storage)"."""
    plain = re.sub(r" \([^()]*\)$", "", path)
    if plain == path or os.path.exists(plain):
        return plain
    within = re.sub(r"^(\w+:)?/+", "", plain)
    copies = glob.glob(f".snakemake/storage/*/{glob.escape(within)}")
    return copies[0] if copies else plain


def _made(outputs: list[str]) -> bool:
    return bool(outputs) and all(map(os.path.exists, map(_local, outputs)))


def _lines(path: str) -> list[str]:
    """Return the lines of a log, without empty ones at its end."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read().rstrip().splitlines()
