"""A SLURM cluster of one node on the loopback address: munged, slurmctld and slurmd as Debian packages them.

All it writes is in a folder of its own but /etc/slurm/slurm.conf: Snakemake's jobs look for the cluster there, as their
executor passes no SLURM_CONF on. There are no accounts, no cgroups and no user but root.
"""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path

CONFIGURATION = Path("/etc/slurm/slurm.conf")
MARK = "# Of a test of mlquant, which removes it when it ends."
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")


def program(name):
    """Where a program is, the daemons among them, or None."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def why_not():
    """What keeps a cluster from being started on this machine, or None."""
    if missing := [name for name in PROGRAMS if not program(name)]:
        return f"needs {', '.join(missing)} of Debian's packages slurmctld slurmd slurm-client munge"
    if os.geteuid() != 0:
        return f"needs to be root, for slurmd and {CONFIGURATION}"
    if CONFIGURATION.exists() and not CONFIGURATION.read_text(encoding="utf-8").startswith(MARK):
        return f"{CONFIGURATION} is another cluster's, and stays as it is"
    return None


def call(name, *arguments):
    """What a program of SLURM prints; nothing when it fails."""
    done = subprocess.run([program(name), *arguments], capture_output=True, text=True, timeout=60)
    return done.stdout if done.returncode == 0 else ""


def wait_for(condition, seconds, what):
    """The first true value of a condition, tried 20 times a second."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def configuration(folder):
    """The text of slurm.conf."""
    host = socket.gethostname().split(".")[0]
    # More memory than there is, as jobs ask for many times what these small ones use.
    return f"""{MARK}
ClusterName=mlquant
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
SlurmUser=root
SlurmdUser=root
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
KillWait=2
MinJobAge=3600
NodeName={host} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} RealMemory=100000
PartitionName=all Nodes={host} Default=YES
"""


@contextlib.contextmanager
def running(folder):
    """A cluster with its state in a new folder; its jobs are cancelled and its daemons stopped at the end."""
    (folder / "spool").mkdir(parents=True)
    key = folder / "munge.key"
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(128))
    CONFIGURATION.parent.mkdir(exist_ok=True)
    CONFIGURATION.write_text(configuration(folder), encoding="utf-8")
    files = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
    daemons = {  # munged is forced, as the folders of tests are closed to others
        "munged": (
            ["--foreground", "--force", f"--socket={folder}/munge.socket", *files],
            (folder / "munge.socket").exists,
        ),
        "slurmctld": (["-D"], lambda: "is UP" in call("scontrol", "ping")),
        "slurmd": (["-D"], lambda: "idle" in call("sinfo", "-h", "-o", "%T")),
    }
    started = []
    try:
        for name, (options, ready) in daemons.items():
            with open(folder / f"{name}.out", "wb") as output:
                started.append(subprocess.Popen([program(name), *options], stdout=output, stderr=output))
            wait_for(ready, 30, f"a start of {name}, see {folder}/{name}.out")
        yield
    finally:
        try:
            call("scancel", "--user=root")
            wait_for(lambda: not call("squeue", "-h"), 30, "an end of all jobs")
        finally:
            for process in reversed(started):
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
            CONFIGURATION.unlink()
