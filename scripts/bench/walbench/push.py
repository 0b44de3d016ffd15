"""How fast the server's archiver gets rid of its segments, with pgvault and with pgBackRest."""

from __future__ import annotations

import argparse
import shutil
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pgvault.postgres.programs import installed_majors
from walbench.site import Facts, Site, cpu_seconds, mib_below, quiet, say, table, wait_for

PEER_NEWEST = 15  # that Debian's pgBackRest 2.45 knows
DRAIN_SECONDS = 1800
SAMPLE_SECONDS = 0.25

PGBACKREST = """\
[global]
repo1-path={place}/repository
repo1-cipher-type=aes-256-cbc
repo1-cipher-pass=a-passphrase-for-the-benchmark
compress-type=zst
compress-level=3
archive-async=y
process-max=2
spool-path={place}/spool
lock-path={place}/lock
log-level-file=off
log-level-console=error
log-level-stderr=error
[main]
pg1-path={data}
pg1-socket-path={sockets}
pg1-user=postgres
"""


@dataclass(frozen=True)
class Archiver:
    """Something that archives, and its fresh repository."""

    name: str
    command: str
    repository: Path | None


@dataclass(frozen=True)
class Stand:
    """A site, and what is to be compared there."""

    site: Site
    makers: dict[str, Callable[[int], Archiver]]

    def clear(self, archiver: Archiver) -> None:
        if archiver.repository is not None:
            shutil.rmtree(archiver.repository)


def make_stand(options: argparse.Namespace, directory: Path) -> Stand:
    """Make the cluster, and say who archives."""
    major = options.major or pick_major()
    site = Site(directory, major)
    makers: dict[str, Callable[[int], Archiver]] = {"pgvault": partial(make_pgvault, site)}
    if shutil.which("pgbackrest") and major <= PEER_NEWEST:
        makers["pgbackrest"] = partial(make_pgbackrest, site)
    else:
        say("   pgBackRest is not here, or too old for this PostgreSQL: no comparison")
    return Stand(site, makers)


def pick_major() -> int:
    """The newest that can be compared, else the newest."""
    majors = installed_majors()
    known = [major for major in majors if major <= PEER_NEWEST and shutil.which("pgbackrest")]
    return max(known or majors)


def make_pgvault(site: Site, number: int) -> Archiver:
    """As `pgvault init` makes it."""
    site.new_repository(f"pgvault{number}")
    return Archiver("pgvault", site.push_command(), site.directory / f"pgvault{number}")


def make_pgbackrest(site: Site, number: int) -> Archiver:
    """The same work: compressed and encrypted alike, as many processes."""
    place = site.directory / f"pgbackrest{number}"
    for name in ("repository", "spool", "lock"):
        (place / name).mkdir(parents=True)
    config = place / "pgbackrest.conf"
    config.write_text(PGBACKREST.format(place=place, data=site.data, sockets=site.server.socket_dir))
    words = ["pgbackrest", f"--config={config}", "--stanza=main"]
    quiet([*words, "--no-online", "stanza-create"])
    return Archiver("pgbackrest", " ".join([*words, "archive-push", "%p"]), place)


def measure(options: argparse.Namespace, directory: Path) -> Facts:
    """Drain the same backlog again and again."""
    stand = make_stand(options, directory)
    site = stand.site
    try:
        names = make_backlog(site, options.segments)
        runs: dict[str, list[Facts]] = {name: [] for name in stand.makers}
        for number in range(options.rounds):
            for name, make in stand.makers.items():
                archiver = make(number)
                runs[name].append(drain(site, archiver, names))
                stand.clear(archiver)
                say(f"   round {number + 1}: {name} {runs[name][-1]['seconds']:.1f} s")
    finally:
        site.server.kill()
    return {"major": site.programs.major, "segments": len(names), "tools": {n: medians(r) for n, r in runs.items()}}


def make_backlog(site: Site, segments: int) -> list[str]:
    """Write segments that nobody archives; return their names. The server is stopped then."""
    site.start(archive_mode="on", archive_command="", wal_keep_size="1TB")
    site.fill(30)
    say(f"   writing {segments} segments on PostgreSQL {site.programs.major}")
    site.write_segments(segments)
    site.stop()
    *others, last = [path.stem for path in site.waiting()]
    names = [*others, last][-segments:]
    set_waiting(site, names)
    return names


def set_waiting(site: Site, names: list[str]) -> None:
    """Let exactly these wait to be archived; the server is stopped."""
    status = site.data / "pg_wal" / "archive_status"
    for path in site.waiting():
        path.rename(path.with_suffix(".done"))
    for name in names:
        (status / f"{name}.done").rename(status / f"{name}.ready")


def drain(site: Site, archiver: Archiver, names: list[str]) -> Facts:
    """Let the archiver work off the backlog, and watch it by pg_stat_archiver."""
    set_waiting(site, names)
    before = cpu_seconds()
    site.start(archive_mode="on", wal_keep_size="1TB")
    site.sql("SELECT pg_stat_reset_shared('archiver')")
    began = time.monotonic()
    site.archive_by(archiver.command)
    count = "SELECT archived_count FROM pg_stat_archiver"
    wait_for(lambda: site.sql(count) >= len(names), seconds=DRAIN_SECONDS, what="the backlog")
    seconds = time.monotonic() - began
    failed = site.sql("SELECT failed_count FROM pg_stat_archiver")
    site.archive_by("")
    site.stop()
    stored = 0.0 if archiver.repository is None else mib_below(archiver.repository)
    return {"seconds": seconds, "cpu_seconds": cpu_seconds() - before, "stored_mib": stored, "failed": failed}


def measure_steady(options: argparse.Namespace, directory: Path) -> Facts:
    """Archive under load, with `true` as what costs nothing."""
    stand = make_stand(options, directory)
    site = stand.site
    makers = {"true": lambda _: Archiver("true", "/bin/true", None), **stand.makers}
    runs: dict[str, list[Facts]] = {name: [] for name in makers}
    try:
        site.start(archive_mode="on", archive_command="/bin/true")
        site.fill(30)
        site.stop()
        (site.data / "postgresql.auto.conf").write_text("")
        for number in range(options.rounds):
            for name, make in makers.items():
                archiver = make(number)
                runs[name].append(archive_under_load(site, archiver, options.seconds))
                stand.clear(archiver)
                say(f"   round {number + 1}: {name} at most {runs[name][-1]['waiting_max']} waiting")
    finally:
        site.server.kill()
    return {"major": site.programs.major, "tools": {name: medians(each) for name, each in runs.items()}}


def archive_under_load(site: Site, archiver: Archiver, seconds: int) -> Facts:
    """How many segments wait while pgbench writes as fast as it can."""
    site.start(archive_mode="on")
    site.sql("CHECKPOINT")
    site.archive_by(archiver.command)
    wait_for(lambda: not site.waiting(), seconds=DRAIN_SECONDS, what="the archiver")
    begin = site.segment_number()
    samples: list[int] = []
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(SAMPLE_SECONDS):
            samples.append(len(site.waiting()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    tps = site.load(seconds)
    is_over.set()
    watcher.join()
    ended = time.monotonic()
    segments = site.segment_number() - begin
    wait_for(lambda: not site.waiting(), seconds=DRAIN_SECONDS, what="the archiver")
    behind = time.monotonic() - ended
    site.stop()
    return {
        "tps": tps,
        "segments": segments,
        "waiting_median": statistics.median(samples),
        "waiting_max": max(samples),
        "seconds_behind": behind,
    }


def medians(runs: list[Facts]) -> Facts:
    """Of every number."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def render(found: Facts) -> str:
    """A line for each tool, ratios of pgBackRest where it was there."""
    tools = found["tools"]
    base = tools.get("pgbackrest", tools["pgvault"])
    rows = [
        (
            name,
            f"{one['seconds']:.1f}",
            f"{one['seconds'] / base['seconds']:.2f}",
            f"{found['segments'] / one['seconds']:.1f}",
            f"{one['cpu_seconds']:.1f}",
            f"{one['cpu_seconds'] / base['cpu_seconds']:.2f}",
            f"{one['stored_mib']:.0f}",
            f"{one['failed']:.0f}",
        )
        for name, one in tools.items()
    ]
    head = f"push: a backlog of {found['segments']} segments, PostgreSQL {found['major']}; medians"
    heads = ("", "seconds", "ratio", "segments/s", "cpu s", "ratio", "stored MiB", "failures")
    return f"{head}\n{table(heads, rows)}"


def render_steady(found: Facts) -> str:
    """A line for each tool."""
    rows = [
        (
            name,
            f"{one['tps']:.0f}",
            f"{one['segments']:.0f}",
            f"{one['waiting_median']:.0f}",
            f"{one['waiting_max']:.0f}",
            f"{one['seconds_behind']:.1f}",
        )
        for name, one in found["tools"].items()
    ]
    heads = ("", "pgbench tps", "segments", "waiting, median", "at most", "seconds behind at the end")
    return f"steady: archiving under pgbench, PostgreSQL {found['major']}; medians\n{table(heads, rows)}"
