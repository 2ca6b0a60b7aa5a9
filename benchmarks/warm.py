"""Prints the seconds of commands of mlquant in a process that has already run one: `python warm.py JSON`."""

import json
import sys
import time

from mlquant import cli


def run_all(commands: list[list[str]]) -> float:
    """Run commands, each given by its arguments, and return their wall seconds."""
    started = time.perf_counter()
    for arguments in commands:
        sys.argv = ["mlquant", *arguments]
        cli.main()
    return time.perf_counter() - started


if __name__ == "__main__":
    request = json.loads(sys.argv[1])
    run_all(request["commands"][:1])
    print(json.dumps(run_all(request["commands"])))
