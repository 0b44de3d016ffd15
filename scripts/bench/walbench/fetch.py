"""How long the same WAL takes to be replayed from plain files and through `pgvault wal fetch`."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import statistics
import time
from datetime import datetime
from pathlib import Path

from pgvault.postgres.instance import ShutdownMode
from pgvault.postgres.programs import installed_majors
from walbench.site import QUIET, Facts, Site, cpu_seconds, quiet, say, table, wait_for

REPLAY_SECONDS = 1800
LINE = r"^(\S+ \S+) \w+ \[\d+\] LOG:  "
REDO_STARTS = re.compile(LINE + "redo starts at", re.MULTILINE)
REDO_DONE = re.compile(LINE + "redo done at", re.MULTILINE)
RESTORED = re.compile(r'restored log file "[0-9A-F]{24}"')


def measure(options: argparse.Namespace, directory: Path) -> Facts:
    """Restore the same cluster again and again, and let either way bring the WAL."""
    site = Site(directory, options.major or max(installed_majors()))
    plain = directory / "plain"
    plain.mkdir()
    try:
        archive(site, plain, options.segments)
    finally:
        site.server.kill()
    runs: dict[str, list[Facts]] = {"cp": [], "pgvault": []}
    for number in range(options.rounds):
        for name, done in runs.items():
            quiet([*site.pgvault("restore", "--to", "latest", "--yes"), directory / "restored"])
            command = f"cp {shlex.quote(str(plain))}/%f %p" if name == "cp" else None
            done.append(replay(site, directory / "restored", command))
            for path in directory.glob("restored*"):
                shutil.rmtree(path)
            say(f"   round {number + 1}: {name} {done[-1]['redo_seconds']:.1f} s")
    return {
        "major": site.programs.major,
        "ways": {way: {each: statistics.median(run[each] for run in of) for each in of[0]} for way, of in runs.items()},
    }


def archive(site: Site, plain: Path, segments: int) -> None:
    """Take a backup, and archive what pgbench writes after it: each segment into both places."""
    site.new_repository("repository")
    both = f"cp %p {shlex.quote(str(plain))}/%f && {site.push_command()}"
    site.start(archive_mode="on", archive_command=both)
    site.fill(30)
    quiet(site.pgvault("backup"))
    say(f"   writing {segments} segments on PostgreSQL {site.programs.major}")
    site.write_segments(segments)
    wait_for(lambda: not site.waiting(), seconds=REPLAY_SECONDS, what="the archiver")
    site.stop(ShutdownMode.IMMEDIATE)


def replay(site: Site, data: Path, command: str | None) -> Facts:
    """Start a server on a restored directory, with its own restore_command or another, and wait for its end."""
    before = cpu_seconds()
    server = site.instance(data)
    began = time.monotonic()
    server.start(QUIET | ({} if command is None else {"restore_command": command}))
    try:
        server.wait_ready(REPLAY_SECONDS)
        seconds = time.monotonic() - began
        log = server.log_text()
    finally:
        server.kill()
    return {
        "redo_seconds": (instant(REDO_DONE, log) - instant(REDO_STARTS, log)).total_seconds(),
        "seconds": seconds,
        "segments": len(RESTORED.findall(log)),
        "cpu_seconds": cpu_seconds() - before,
    }


def instant(line: re.Pattern[str], log: str) -> datetime:
    """When the server logged a line."""
    found = line.search(log)
    if found is None:
        raise SystemExit(f"the server's log has no line {line.pattern!r}")
    return datetime.fromisoformat(f"{found[1]}+00:00")


def render(found: Facts) -> str:
    """A line for each way, ratios of plain files."""
    base = found["ways"]["cp"]
    rows = [
        (
            way,
            f"{one['segments']:.0f}",
            f"{one['redo_seconds']:.1f}",
            f"{one['redo_seconds'] / base['redo_seconds']:.2f}",
            f"{one['seconds']:.1f}",
            f"{one['seconds'] / base['seconds']:.2f}",
            f"{one['cpu_seconds']:.1f}",
        )
        for way, one in found["ways"].items()
    ]
    heads = ("", "segments", "redo s", "ratio", "start to ready s", "ratio", "cpu s")
    return f"fetch: replay on PostgreSQL {found['major']}; medians\n{table(heads, rows)}"
