"""Runs that are killed, that meet a full disk, or run side by side: nothing is lost, and the bytes are the same."""

import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from support.workflow import Done, copy_of_checkout

from mlquant.tools import runs

RESULTS = ("results/*_wav/*.wav", "results/*_wav/*.csv", "results/*/*/*.f32", "results/*/*/*.safetensors")
RESULTS += ("results/*/*/*.bin", "results/*/*/*.npy", "results/*/*/*.raw", "results/*/*/*.wav", "results/*/*/*.csv")
RESULTS += ("results/*/*/*.png", "results/*/*/*.tar", "results/*/*/settings.json", "results/*/*/measured.json")
WAYS = ("Ctrl-C", "SIGTERM", "SIGKILL", "SIGKILL of all", "SIGKILL of a job", "SIGTERM of a job")


def results_of(checkout):
    """Every result that has no times in it, by its name."""
    return {name: data for pattern in RESULTS for name, data in checkout.bytes(pattern).items()}


def descendants(pid):
    """Processes that a process has started, from any of its threads, and those that they have."""
    found = []
    for path in Path("/proc").glob(f"{pid}/task/*/children"):
        try:
            children = [int(child) for child in path.read_text().split()]
        except OSError:
            continue
        found += [*children, *(below for child in children for below in descendants(child))]
    return found


def strike(process, way, draw):
    """Interrupt a run; False when it was over, or there was no job to strike."""
    jobs = descendants(process.pid)
    try:
        if way == "Ctrl-C":  # a terminal sends it to all
            os.killpg(process.pid, signal.SIGINT)
        elif way == "SIGTERM":
            process.terminate()
        elif way == "SIGKILL":
            process.kill()
        elif way == "SIGKILL of all":
            os.killpg(process.pid, signal.SIGKILL)
        elif not jobs:
            return False
        else:
            os.kill(draw.choice(jobs), signal.SIGKILL if "SIGKILL" in way else signal.SIGTERM)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def undisturbed(cold):
    """Results of the run from nothing that nobody disturbed."""
    checkout, done = cold
    assert done.status == 0, done.text
    return results_of(checkout)


def without_ann(checkout):
    """The checkout when all that was made of ann, which is in both experiments, is gone, and what was gathered."""
    for pattern in ("results/*/ann.*", "results/measures/*", "results/experiments/*", "results/*_wav"):
        for path in checkout.files(pattern):
            shutil.rmtree(checkout.folder / path)
    return checkout


@pytest.mark.slow
def test_another_clone_on_one_core_gives_the_same_bytes(tmp_path, undisturbed):
    checkout = copy_of_checkout(tmp_path / "another")
    done = checkout.run("--cores", 1)
    assert done.status == 0, done.text
    found = results_of(checkout)
    assert found.keys() == undisturbed.keys()
    assert [name for name, data in found.items() if data != undisturbed[name]] == []


@pytest.mark.slow
@pytest.mark.usefixtures("interruptible")
def test_a_run_killed_at_twenty_random_moments_ends_in_the_bytes_of_an_undisturbed_one(tmp_path, undisturbed):
    seed = random.SystemRandom().randrange(1 << 32)
    draw = random.Random(seed)
    print(f"seed {seed}")
    checkout = copy_of_checkout(tmp_path / "killed")
    struck, texts = Counter(), []
    while struck.total() < 20:
        process = checkout.start("--cores", 2, start_new_session=True)
        while struck.total() < 20:
            try:
                # Starting takes 2 s of every run, which so is struck too, but not every time.
                process.wait(draw.uniform(0.5, 9))
                break
            except subprocess.TimeoutExpired:
                way = draw.choice(WAYS)
                struck[way] += strike(process, way, draw)
        texts.append(process.communicate(timeout=600)[0])
        assert not any(line in texts[-1] for line in ("--unlock", "IncompleteFilesException")), texts[-1]
        if process.returncode == 0:
            shutil.rmtree(checkout.folder / "results")
    done = checkout.run("--cores", 2)
    assert done.status == 0, done.text
    logs = "".join(path.read_text() for path in checkout.folder.glob("results/logs/networks/*.log"))
    print(f"kills survived: {struck.total()} ({dict(struck)}), trainings continued at last: {logs.count('ontinu')}")
    found = results_of(checkout)
    assert found.keys() == undisturbed.keys()
    assert [name for name, data in found.items() if data != undisturbed[name]] == []


@pytest.mark.slow
def test_a_full_disk_ends_in_a_line_and_room_in_the_same_bytes(tmp_path, undisturbed):
    checkout = copy_of_checkout(tmp_path / "full")
    results = checkout.folder / "results"
    results.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", results], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"needs a file system of its own: {mounted.stderr.decode().strip()}")
    # A log on the full disk would be as empty as the rest.
    (checkout.folder / "logs").mkdir()
    (results / "logs").symlink_to(checkout.folder / "logs")
    try:
        full = checkout.run("--cores", 2)
        assert full.status == 1
        assert "No space left on device" in full.text and "Traceback" not in full.text, full.text
        subprocess.run(["mount", "-o", "remount,size=1g", results], check=True)
        done = checkout.run("--cores", 2)
        assert done.status == 0, done.text
        assert results_of(checkout) == undisturbed
    finally:
        subprocess.run(["umount", results], check=True)


@pytest.mark.slow
def test_two_runs_of_different_targets_share_what_both_need(copied):
    checkout = without_ann(copied)
    first = checkout.start("--cores", 1, "results/240118_wav")
    second = checkout.start("--cores", 1, "results/pair_wav")
    texts = [process.communicate(timeout=600)[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), texts
    assert all(Done(0, text).rules for text in texts), "both had something to do"
    assert sum("Waiting for the run of Snakemake" in text for text in texts) <= 1
    assert checkout.run("-n").rules == {}


@pytest.mark.slow
def test_a_second_run_of_the_same_target_is_told_what_to_do(copied):
    checkout = without_ann(copied)
    first = checkout.start("--cores", 1, "results/pair_wav")
    wait_until(lambda: list(checkout.folder.glob(".snakemake/locks/*.lock")))
    second = checkout.run("--cores", 1, "results/pair_wav")
    assert second.status == 1
    assert "Directory cannot be locked" in second.text and "--unlock" in second.text
    text, _ = first.communicate(timeout=600)
    assert first.returncode == 0, text


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


# --- what the runs know of each other --------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to run in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".snakemake/locks").mkdir(parents=True)
    yield tmp_path
    runs._held.clear()


def lock(name, *paths):
    Path(".snakemake/locks").mkdir(parents=True, exist_ok=True)
    Path(f".snakemake/locks/{name}.lock").write_text("".join(f"{path}\n" for path in paths))


def another(targets, *paths):
    """A living run of another process, which has locked some outputs; it ends with what is written to it."""
    text = "".join(f"{path}\n" for path in paths)
    code = (
        "from mlquant.tools import runs; from pathlib import Path; runs._RENEWED_SECONDS = 0.1\n"
        f"runs.enter({targets!r}, lambda files: None, print)\n"
        f"Path('.snakemake/locks/0.output.lock').write_text({text!r})\n"
        "runs.settle(); print('locked', flush=True); input()"
    )
    process = subprocess.Popen(["python", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "locked\n"
    return process


def locks():
    return {path.name: path.read_text().split() for path in Path(".snakemake/locks").glob("*.lock")}


def test_locks_of_no_living_run_are_removed(folder):
    lock("0.input", "a")
    lock("0.output", "b")
    runs.enter(["results/x_wav"], lambda files: None, print)
    assert locks() == {}


def test_locks_of_a_living_run_stay_until_it_is_killed(folder):
    process = another(["results/x_wav"], "b")
    try:
        lock("1.output", "of a run that was killed")
        runs.enter(["results/y_wav"], lambda files: None, print)
        assert locks() == {"0.output.lock": ["b"]}
    finally:
        process.kill()
        process.communicate()
    runs.enter(["results/y_wav"], lambda files: None, print)
    assert locks() == {}


def test_a_look_sets_the_locks_right_and_waits_for_nobody(folder):
    process = another(["results/x_wav"], "b")
    try:
        lock("1.output", "of a run that was killed")
        runs.look()
        assert locks() == {"0.output.lock": ["b"]}
        lock("1.output", "of a run that is beginning")
        runs.enter(["results/y_wav"], lambda files: None, print)
        lock("1.output", "its own")
        with open(".snakemake/mlquant/door", "a") as door, pytest.raises(BlockingIOError):
            fcntl.flock(door, fcntl.LOCK_EX | fcntl.LOCK_NB)
        runs._held.pop("run")
        held = runs._held.pop("door")
        runs.look()
        assert locks() == {"0.output.lock": ["b"], "1.output.lock": ["its", "own"]}
        held.close()
    finally:
        process.communicate("\n")


def test_locks_that_the_end_of_another_run_took_along_are_put_back(folder):
    process = another(["results/x_wav"], "b", "c")
    try:
        shutil.rmtree(".snakemake/locks")
        runs.enter(["results/y_wav"], lambda files: None, print)
        assert locks() == {"0.output.lock": ["b", "c"]}
    finally:
        process.communicate("\n")


def test_a_run_that_needs_what_another_makes_waits_and_one_of_the_same_target_does_not(folder):
    process = another(["results/x_wav"], "b")
    told = []

    def log(text):
        told.append(text)
        process.communicate("\n")

    runs.enter(["results/x_wav"], lambda files: next(iter(files), None), log)
    assert told == []
    runs._held.clear()
    runs.enter(["results/y_wav"], lambda files: next(iter(files), None), log)
    assert len(told) == 1 and told[0].endswith("which is to make b.")
    assert process.returncode == 0


# --- other machines, on a file system that locks on each machine by itself ------------------------------


def note(host="elsewhere", boot="another", ago=0, text=None):
    """The note of a run that has locked an output; no process keeps it locked, as far as this machine can see."""
    path = Path(f".snakemake/mlquant/{host}.7.run")
    path.parent.mkdir(exist_ok=True)
    known = {"boot": boot, "targets": ["results/x_wav"], "locks": {"0.output.lock": "b\n"}}
    path.write_text(json.dumps(known) if text is None else text)
    os.utime(path, (time.time() - ago,) * 2)
    lock("0.output", "b")
    return path


def test_a_run_of_another_machine_counts_until_its_note_is_stale(folder):
    path = note(ago=60)
    runs.look()
    assert path.exists() and locks() == {"0.output.lock": ["b"]}
    told = []

    def log(text):
        told.append(text)
        os.utime(path, (time.time() - 600,) * 2)

    runs.enter(["results/y_wav"], lambda files: next(iter(files), None), log)
    assert told == ["Waiting for the run of Snakemake elsewhere.7, which is to make b."]
    assert not path.exists() and locks() == {}


@pytest.mark.parametrize("told", [{"boot": runs._boot()}, {"host": os.uname().nodename}])
def test_a_killed_run_of_this_machine_counts_no_more_at_once_in_a_container_too(folder, told):
    if None in told.values():
        pytest.skip("needs a system that tells its boot")
    path = note(**told)
    runs.look()
    assert not path.exists() and locks() == {}


@pytest.mark.parametrize("text", ["", '{"bo', '{"boot": "another", "targets": [], "locks": {}}'])
def test_no_lock_is_removed_while_another_machine_may_be_about_to_note_it(folder, text):
    note(text=text)
    runs.enter(["results/y_wav"], lambda files: None, print)
    assert locks() == {"0.output.lock": ["b"]}


def test_a_run_renews_its_note_while_it_lives_and_takes_it_along_at_its_end(folder):
    process = another(["results/x_wav"], "b")
    (path,) = Path(".snakemake/mlquant").glob("*.run")
    os.utime(path, (0, 0))
    wait_until(lambda: path.stat().st_mtime > time.time() - 60)
    process.communicate("\n")
    assert not path.exists()
