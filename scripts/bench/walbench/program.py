"""Measure how pgvault archives, fetches and streams WAL, beside what else does it: same data, in turn, in one run.

    .venv/bin/python scripts/bench/wal                                        # everything, 200 segments, some minutes
    .venv/bin/python scripts/bench/wal push --segments 100 --rounds 2
    .venv/bin/python scripts/bench/wal fetch day --json

push    a backlog of segments, drained by the server's archiver: `pgvault wal push` and pgBackRest's asynchronous
        archive-push (2 processes each, zstd 3, encrypted). Both acknowledge a segment once it lies in the repository,
        synced: pgvault's call returns when its own segment does, pgBackRest's when a file in its spool says so.
steady  the archiver under pgbench: how many segments wait, how long the rest takes afterwards, what it costs pgbench
fetch   replay of the same segments: `restore_command = 'cp …'` of plain files and what `pgvault restore` sets
day     what `pgvault wal stream --every 10s --beacon 10s` stores and asks of its store, idle and busy, as of a day

Machines are noisy: only the ratios of one run mean anything. Debian's pgBackRest is too old for PostgreSQL 16 and
later, so push and steady take 15 where both are here; without pgBackRest they measure pgvault alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from pgvault.postgres.programs import installed_majors
from walbench import day, fetch, push
from walbench.site import Facts, adopt_orphans, say

QUESTIONS: dict[str, Callable[[argparse.Namespace, Path], Facts]] = {
    "push": push.measure,
    "steady": push.measure_steady,
    "fetch": fetch.measure,
    "day": day.measure,
}
PARTS: dict[str, Callable[[Facts], str]] = {
    "push": push.render,
    "steady": push.render_steady,
    "fetch": fetch.render,
    "day": day.render,
}


def main() -> None:
    """Ask the questions that are named, print the answers."""
    options = read_options()
    adopt_orphans()
    found: Facts = {}
    for question in options.questions or QUESTIONS:
        say(f"== {question}")
        with tempfile.TemporaryDirectory(prefix="pgv-bench-", dir=options.directory) as name:
            found[question] = QUESTIONS[question](options, Path(name))
        if not options.json:
            print(PARTS[question](found[question]), flush=True)
    if options.json:
        json.dump(found, sys.stdout, indent=1)
        print()


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", nargs="*", metavar="push|steady|fetch|day", help="all of them, unless named")
    parser.add_argument("--segments", type=int, default=200, help="of 16 MiB, for push and fetch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=60, help="of watching, for steady and day")
    parser.add_argument("--rate", type=int, default=100, help="transactions a second of a busy day")
    parser.add_argument("--major", type=int, choices=installed_majors(), default=None)
    parser.add_argument("--directory", type=Path, default=None)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if unknown := [word for word in options.questions if word not in QUESTIONS]:
        parser.error(f"not a question: {unknown[0]!r}")
    return options
