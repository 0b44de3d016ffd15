"""What streaming costs a day: requests to the store, and bytes.

    watched     `pgvault wal stream` of a real server for a while, idle and busy; a day is that times 86,400 / seconds
    replayed    a whole idle day: 8,640 beacons are committed one after the other, and the tails cut after each

The first knows every request, but not what a longer day brings: small tails are merged into larger ones, which takes
longer than a minute to show. The second is every tail of such a day, byte for byte; only checkpoints are missing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psycopg

from pgvault.instants import SystemClock
from pgvault.postgres.control import CONTROL_PATH, read_control
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.programs import installed_majors
from pgvault.postgres.walname import WalSegment
from pgvault.repository.copies import Copy
from pgvault.repository.keys import Credential
from pgvault.repository.repository import init_repository
from pgvault.wal.tail import TailWriter
from walbench.counting import COUNTS, CountingStore
from walbench.site import ENVIRONMENT, ROOT, Facts, Site, say, table, wait_for

DAY_SECONDS = 86400
EVERY_SECONDS = 10
WARM_UP_SECONDS = 25
FIELDS = ("put", "get", "head", "list", "delete")
BEACON = "SELECT pg_logical_emit_message(true, 'pgvault', '')"
POSITION = "SELECT pg_current_wal_flush_lsn()::text"


def measure(options: argparse.Namespace, directory: Path) -> Facts:
    """Watch an idle and a busy server, then replay an idle day."""
    site = Site(directory, options.major or max(installed_majors()))
    found: Facts = {"major": site.programs.major, "rate": options.rate, "watched_seconds": options.seconds}
    try:
        site.start(archive_mode="off", autovacuum="on", wal_keep_size="1GB")
        site.fill(5)
        site.new_repository("repository")
        found["idle"] = watch(site, options.seconds, lambda _: None)
        found["busy"] = watch(site, options.seconds, lambda seconds: begin_load(site, seconds, options.rate))
        found["idle day, replayed"] = replay(site)
    finally:
        site.server.kill()
    return found


def begin_load(site: Site, seconds: int, rate: int) -> None:
    """Let pgbench write at a steady rate, beside us."""
    words = [site.programs.path("pgbench"), "-n", "-c", "2", "-R", str(rate), "-T", str(seconds), site.server.dsn]
    subprocess.Popen([str(word) for word in words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def watch(site: Site, seconds: int, load: Callable[[int], None]) -> Facts:
    """Stream for a while; return what came of it in a day's terms."""
    counts = site.directory / "counts.json"
    counts.unlink(missing_ok=True)
    every = f"{EVERY_SECONDS}s"
    words = [*("wal", "stream", "--every", every, "--beacon", every, "--spool"), str(site.directory / "spool")]
    argv = [sys.executable, "-m", "walbench.counting", str(counts), "--config", str(site.config), *words]
    environment = ENVIRONMENT | {"PYTHONPATH": f"{ROOT}:{ROOT / 'scripts/bench'}"}
    environment["PATH"] = f"{site.programs.path('postgres').parent}:{os.environ['PATH']}"
    with (site.directory / "stream.log").open("ab") as log:
        stream = subprocess.Popen(argv, env=environment, stdout=log, stderr=log)
    try:
        wait_for(counts.exists, seconds=60, what="the stream")
        load(WARM_UP_SECONDS + seconds + 15)
        sleep_while(stream, WARM_UP_SECONDS)
        before, at = json.loads(counts.read_text()), site.sql("SELECT pg_current_wal_lsn() - '0/0'")
        sleep_while(stream, seconds)
        after, to = json.loads(counts.read_text()), site.sql("SELECT pg_current_wal_lsn() - '0/0'")
    finally:
        stream.terminate()
        stream.wait(60)
    per_day = DAY_SECONDS / seconds
    more = {name: after.get(name, 0) - before.get(name, 0) for name in {*after, *before}}
    return in_a_day({name: number * per_day for name, number in more.items()}, float(to - at) * per_day)


def sleep_while(stream: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait, and end the program when the stream has ended."""
    time.sleep(seconds)
    if stream.poll() is not None:
        raise SystemExit(f"the stream ended with status {stream.returncode}")


def replay(site: Site) -> Facts:
    """Cut the tails of an idle day, as often as in one."""
    site.sql("SELECT pg_switch_wal()")
    site.sql(BEACON)
    ends = []
    with psycopg.connect(site.server.dsn, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = on")
        for _ in range(DAY_SECONDS // EVERY_SECONDS):
            connection.execute(BEACON)
            row = connection.execute(POSITION).fetchone()
            ends.append(Lsn.parse(str(row[0] if row else "")))
    segment = WalSegment(1, ends[0].value >> 24)
    if ends[-1].value > segment.start_lsn.value + segment.size:
        raise SystemExit("a day's beacons do not fit into a segment")
    content = (site.data / "pg_wal" / segment.name).read_bytes()
    say(f"   cutting the tails of {len(ends)} beacons")
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:  # noqa: S108
        return cut(site, segment, content, [end.value - segment.start_lsn.value for end in ends], Path(name))


def cut(site: Site, segment: WalSegment, content: bytes, ends: list[int], directory: Path) -> Facts:
    """Let a tail writer see the segment grow to each of `ends`."""
    store = CountingStore(directory / "repository")
    store.create_root()
    clock = SystemClock()
    repository, _ = init_repository([Copy("primary", store)], Credential("raw", bytes(32)), now=clock.now())
    system = read_control(site.data / CONTROL_PATH).system_identifier
    writer = TailWriter(repository, "main", system, clock=clock)
    partial = directory / f"{segment.name}.partial"
    COUNTS.clear()
    with partial.open("wb", buffering=0) as file:
        file.truncate(segment.size)
        written = 0
        for end in ends:
            os.pwrite(file.fileno(), content[written:end], written)
            written = end
            writer.store(partial, segment)
    return in_a_day(dict(COUNTS), float(ends[-1]))


def in_a_day(counts: dict[str, float], wal_bytes: float) -> Facts:
    """Sum up."""
    requests = {name: round(counts.get(name, 0)) for name in FIELDS}
    sent, deleted = counts.get("put_bytes", 0), counts.get("deleted_bytes", 0)
    return {
        **requests,
        "requests": sum(requests.values()),
        "wal_mib": wal_bytes / 2**20,
        "sent_mib": sent / 2**20,
        "left_mib": (sent - deleted) / 2**20,
    }


def render(found: Facts) -> str:
    """A line for each kind of day."""
    rows = [
        (
            kind,
            *(f"{one[name]:,}" for name in (*FIELDS, "requests")),
            *(f"{one[f'{name}_mib']:,.1f}" for name in ("wal", "sent", "left")),
        )
        for kind, one in found.items()
        if isinstance(one, dict)
    ]
    head = (
        f"day: wal stream --every {EVERY_SECONDS}s --beacon {EVERY_SECONDS}s on PostgreSQL {found['major']}, a day by"
        f" {found['watched_seconds']} s; busy: {found['rate']} transactions a second"
    )
    heads = ("", *FIELDS, "requests", "WAL MiB", "sent MiB", "left MiB")
    return f"{head}\n{table(heads, rows)}"
