"""What a run shows, on a terminal and elsewhere: the logger plugin, and commands without kilobytes of settings."""

import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from fcntl import ioctl

import pytest
from support.workflow import ROOT

LONG = "x" * 3000
# Jobs of all kinds: one that trains, one whose log is shown, and one that fails after forty lines.
SNAKEFILE = f"""
rule all:
    input: "a", "b", "summary"
rule train:
    output: "a"
    log: "logs/train.log"
    message: "Training network mine.01234567; progress in {{log}}"
    shell: "for i in 1 2 3 4 5 6; do echo epoch $i/6 loss 0.1; sleep 0.5; done > {{log}}; touch {{output}}"
rule quick:
    output: "b"
    message: "Making b.01234567"
    shell: ": {LONG}; touch {{output}}"
rule sweep:
    output: "summary"
    log: "logs/sweep.log"
    message: "Summarising"
    shell: "printf 'variant   loss\\nbest      0.125\\n' > {{log}}; touch {{output}}"
rule fail:
    output: "never"
    log: "logs/fail.log"
    message: "Failing"
    shell: "(for i in $(seq 40); do echo line $i; done; echo mlquant fail: the reason; exit 3) > {{log}}  # {LONG}"
"""


def command(*words):
    return [sys.executable, "-m", "snakemake", "--cores", "2", *map(str, words)]


def environment(**changes):
    known = {name: value for name, value in os.environ.items() if name not in ("TERM", "NO_COLOR", "COLUMNS")}
    return known | {"PYTHONPATH": str(ROOT / "src"), "TERM": "xterm"} | changes


def on_terminal(words, cwd, columns=80, **changes):
    """The exit status of a command that talks to a terminal, and all that it writes there."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    options = {"stdin": subprocess.DEVNULL, "stdout": theirs, "stderr": theirs}
    process = subprocess.Popen(words, cwd=cwd, env=environment(**changes), **options)
    os.close(theirs)
    found = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        found += part
    os.close(ours)
    return process.wait(), found.decode().replace("\r\n", "\n")


def screen(text):
    """The lines that are left on a terminal."""
    lines = []
    for line in text.split("\n"):
        shown = ""
        for part in line.split("\r"):
            part, cleared, rest = part.partition("\033[K")
            shown = part + rest if cleared else part + shown[len(part) :]
        lines.append(re.sub(r"\033\[\d*m", "", shown))
    return lines


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    return tmp_path


def full_log(folder):
    (path,) = folder.glob(".snakemake/log/*.log")
    return path.relative_to(folder), path.read_text()


def test_on_a_terminal_one_line_is_updated_and_tells_jobs_epoch_and_time(folder):
    status, text = on_terminal(command("--logger", "mlquant"), folder, columns=60)
    assert status == 0, text
    updated = re.findall(r"\r([^\r\n\033]+)\033\[K", text)
    assert max(map(len, updated)) < 60 and len(updated) > 5
    assert any(re.match(r"\d of 4 jobs: Training network mine: epoch [3-5]/6, [1-9] s left$", one) for one in updated)
    path, log = full_log(folder)
    left = screen(text)
    assert "Training" not in "".join(left) and "Reason" not in text and LONG not in text
    # A summary is whole and on lines of its own.
    assert left[left.index("variant   loss") + 1] == "best      0.125"
    assert re.fullmatch(r"4 jobs done in \d+ s\.", left[-3])
    assert left[-2:] == [f"All that Snakemake said is in {path}.", ""]
    assert len(left) < 10
    assert "Reason: Missing output files: a" in log and "Finished jobid" in log


@pytest.mark.parametrize("kind", ["pipe", pytest.param("dumb", marks=pytest.mark.slow)])
def test_elsewhere_a_job_has_one_plain_line(folder, kind):
    words = command("b", "summary", "--logger", "mlquant")
    if kind == "pipe":
        done = subprocess.run(words, cwd=folder, env=environment(), capture_output=True, text=True)
        status, text = done.returncode, done.stderr
    else:
        status, text = on_terminal(words, folder, TERM="dumb")
    assert status == 0 and "\033" not in text and "\r" not in text and LONG not in text
    told = re.findall(r"^Job \d+: (.*) \(\d of 2 done\)$", text, re.MULTILINE)
    assert sorted(told) == ["Making b.01234567", "Summarising"]
    assert "\nvariant   loss\nbest      0.125\n" in text and re.search(r"^2 jobs done in \d+ s\.$", text, re.MULTILINE)


@pytest.mark.slow
def test_no_color_leaves_the_updated_line_and_takes_the_colours(folder):
    failed = command("never", "--logger", "mlquant")
    texts = [on_terminal(failed, folder, **changes)[1] for changes in ({}, {"NO_COLOR": "1"})]
    assert ["\033[31mError in rule fail" in text for text in texts] == [True, False]
    assert "\033[K" in texts[1] and not re.search(r"\033\[\d*m", texts[1])


def test_a_job_that_fails_shows_the_last_lines_of_its_log_and_the_run_names_the_full_one(folder):
    done = subprocess.run(
        command("never", "--logger", "mlquant"), cwd=folder, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 1
    path, log = full_log(folder)
    lines = done.stderr[done.stderr.index("Error in rule") :].splitlines()
    assert lines == [
        "Error in rule fail, job 0: Failing (exit status 3)",
        "  log: logs/fail.log, the last 12 of its 41 lines:",
        *(f"    line {i}" for i in range(30, 41)),
        "    mlquant fail: the reason",
        "0 of 1 job done, 1 failed: Failing.",
        f"All that Snakemake said is in {path}.",
    ], lines
    assert LONG not in done.stderr and LONG in log


@pytest.mark.slow
def test_verbose_and_quiet_are_those_of_snakemake(folder):
    def said(*words):
        done = subprocess.run(
            command("b", "--logger", "mlquant", *words), cwd=folder, env=environment(), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        (folder / "b").unlink(missing_ok=True)
        return done.stdout + done.stderr

    assert "Reason: Missing output files: b" in said("--verbose")
    assert said("--quiet", "all") == ""
    said_in_part = said("--quiet", "rules", "--printshellcmds")
    assert "Making b" not in said_in_part and "1 of 1 job done" in said_in_part


# --- the workflow's own ------------------------------------------------------------------------------------


def dry(folder, *words, **changes):
    """What a dry run of the workflow prints, of jobs in another folder."""
    done = subprocess.run(
        command("-n", "--directory", folder, *words),
        cwd=ROOT,
        env=environment(**changes),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_dry_run_has_a_reason_of_one_line_a_job_and_no_command_has_settings_in_it(tmp_path):
    targets = ("results/240118_wav", "results/sweeps/bottleneck", "results/studies/noise")
    lines = dry(tmp_path, "-p", *targets).splitlines()
    commands = [line for line in lines if line.startswith("Shell command: ")]
    assert len(commands) > 100 and not any("{" in line for line in commands)
    assert max(map(len, commands)) < 3000
    for line in commands:
        for path in re.findall(r"\.snakemake/mlquant/settings/\S+\.json", line):
            assert (tmp_path / path).stat().st_size > 2
    others = [line for line in lines if line not in commands]
    assert max(map(len, others)) <= 160
    assert sum(bool(re.match(r"Job \d+: ", line)) for line in others) == sum(
        line.startswith("    Reason: ") for line in others
    )
    assert others.count("Job stats:") == 1 and len(others) < 2 * len(commands) + 60


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["ci", "slurm"])
def test_another_logger_takes_the_place_of_ours_in_every_profile(tmp_path, profile):
    plugin = tmp_path / "snakemake_logger_plugin_other"
    plugin.mkdir()
    (plugin / "__init__.py").write_text(
        "from snakemake_logger_plugin_mlquant import LogHandler as Ours\n"
        "class LogHandler(Ours):\n    def emit(self, record):\n        self._say(f'other: {record.name}')\n"
    )
    paths = {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{tmp_path}"}
    words = ("results/240118_wav", "--workflow-profile", ROOT / "profiles" / profile)
    if profile == "slurm":
        words += ("--executor", "dryrun")
    assert "Reason: Missing output" in dry(tmp_path, *words)
    told = dry(tmp_path, *words, "--logger", "other", **paths).splitlines()
    assert len(told) > 100 and set(told) == {"other: snakemake.logging"}


def test_a_run_that_has_nothing_to_do_says_so_in_a_line(cold):
    checkout, _ = cold
    told = [line for line in checkout.run("-n").text.splitlines() if "profile" not in line]
    left_out, nothing = told
    assert left_out.startswith("The optional sample late could not be obtained and is left out.")
    assert nothing == "Nothing to be done (all requested files are present and up to date)."


@pytest.mark.slow
def test_a_run_of_the_workflow_leaves_a_few_lines_on_a_terminal(copied):
    """Warnings and summaries stay."""
    for path in ("results/pair_wav", *copied.files("results/optional_sources/late.*")):
        shutil.rmtree(copied.folder / path)
    words = command("results/pair_wav", "results/compare/240118_vs_pair")
    status, text = on_terminal(words, copied.folder, PYTHONPATH=str(copied.folder / "src"))
    assert status == 0, text
    left = screen(text)
    assert sum(line.startswith("warning: source late: file:///no/such/folder/late.raw") for line in left) == 1
    assert sum(line.startswith("The optional sample late could not be obtained") for line in left) == 1
    compared = (copied.folder / "results/logs/compare/240118_vs_pair.log").read_text(encoding="utf-8").rstrip()
    assert compared in "\n".join(left)
    assert re.search(r"\d of \d jobs: \w+ing ", text)  # which job the line names depends on when it is written
    assert re.fullmatch(r"\d jobs done in .*\.", left[-3])
    assert left[-2].startswith("All that Snakemake said is in .snakemake/log/")
    assert len(left) - len(compared.splitlines()) < 15, left
