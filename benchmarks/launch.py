"""Run one command and print what it took: `python -I -S launch.py JSON`.

It is a process of its own, because Linux counts the memory of the process that starts a command into the command's
peak. This process is small (about 10 MB, the least peak that can be measured), the benchmark itself is not.
"""

import json
import os
import sys
import time


def launch(request: dict) -> dict:
    """Run a command pinned to `cores`; return wall and CPU seconds, the peak of its largest process, and its status."""
    started = time.perf_counter()
    child = os.fork()
    if child == 0:
        try:
            if request["cores"] and hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(0, request["cores"])
            for place, (path, flags) in enumerate(
                [
                    (request["stdin"], os.O_RDONLY),
                    (request["stdout"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
                    (request["stderr"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
                ]
            ):
                os.dup2(os.open(path, flags, 0o644), place)
            os.execvp(request["command"][0], request["command"])
        finally:
            os._exit(127)
    _, status, usage = os.wait4(child, 0)
    return {
        "wall_s": time.perf_counter() - started,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_MB": usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e6 / 1024),
        "status": os.waitstatus_to_exitcode(status),
    }


if __name__ == "__main__":
    print(json.dumps(launch(json.loads(sys.argv[1]))))
