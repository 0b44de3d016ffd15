"""Stop a command by SIGKILL after each of its store operations in turn, and look at what is left.

    def command(k: int) -> list[str | Path]:        # what to run for crash point k = 1, 2, …; make its place here
        return ["pgvault", "--config", fresh_place(k).config, "expire"]

    def invariant(k: int) -> None:                  # after each crash, and (k one beyond the last) after the whole run
        assert everything_listed_verifies() and next_run_succeeds()

    assert enumerate_crashes(command, invariant) > 5

The command is a child process: `pgvault …` is the command line, in an empty environment; `module:function …` is any
importable function, called with the words behind it, for what has no command. Operations that count are those that
change a store in a directory: each put that stored something, each delete and replace. The process dies in the k-th,
when it is durable and nobody has been told. What other processes do (the server's archive_command) does not count.

Crashes *within* an operation are the stores' own tests.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any

from pgvault.process import attempt
from pgvault.stores.file import FileStore

ROOT = Path(__file__).resolve().parent.parent
VERBS = ("put_if_absent", "replace", "delete")
MOST = 500  # crash points; a command with more of them is tried with a smaller place

Words = Sequence[str | Path]


def enumerate_crashes(
    command: Callable[[int], Words],
    invariant: Callable[[int], None],
    *,
    timeout: float = 60,
    expected_status: int = 0,
) -> int:
    """Run the command anew for each crash point until it is through; return how many there were.

    `expected_status` is that of a run to the end. `timeout` is in seconds, of one run.
    """
    for number in range(1, MOST):
        ended = attempt(
            [sys.executable, "-m", "tests.crashpoints", str(number), *command(number)],
            timeout=timeout,
            env={name: os.environ[name] for name in ("PATH", "XDG_STATE_HOME")} | {"PYTHONPATH": str(ROOT)},
        )
        is_through = ended.status != -signal.SIGKILL
        assert not is_through or ended.status == expected_status, f"crash point {number}: {ended}"
        try:
            invariant(number)
        except BaseException as error:
            error.add_note(f"after crash point {number}; stderr: {ended.errors}")
            raise
        if is_through:
            return number - 1
    raise AssertionError(f"more than {MOST} crash points")


def main() -> None:
    """Run the words behind the number, and die after so many operations."""
    number, words = int(sys.argv[1]), sys.argv[2:]
    die_after(number)
    if words[0] == "pgvault":
        from pgvault.cli.main import main as pgvault

        sys.argv = words
        pgvault()
    else:
        module, _, name = words[0].partition(":")
        getattr(import_module(module), name)(*words[1:])


def die_after(number: int) -> None:
    """Let this process kill itself right after so many operations of all stores in directories."""
    lock, done = Lock(), [0]

    def deadly(verb: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any, **named: Any) -> None:
            verb(*arguments, **named)
            with lock:
                done[0] += 1
                if done[0] == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        return call

    for verb in VERBS:  # of the class: however, and however often, the command opens its stores
        setattr(FileStore, verb, deadly(getattr(FileStore, verb)))


if __name__ == "__main__":
    main()
