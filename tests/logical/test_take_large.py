"""Logical backups of much: bounded memory, a bounded spool, thousands of tables."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from threading import Event, Thread
from typing import Self

import pytest

from pgvault.logical.spool import PREFIX
from pgvault.process import run
from tests.logical.takes import Source, make_source
from tests.servers import NEWEST, ServerFactory

GIB = 1 << 30
MIB = 1 << 20
ROOT = Path(__file__).resolve().parent.parent.parent
TAKER = """
import re, sys
from pathlib import Path
from pgvault.cli.opening import open_cluster, make_source
from pgvault.instants import SystemClock
from pgvault.logical.request import LogicalRequest
from pgvault.logical.take import take_logical
from pgvault.progress import NoProgress
from tests.logical.takes import ENVIRONMENT
opened = open_cluster(make_source(Path(sys.argv[1])), "main")
request = LogicalRequest("main", sys.argv[2], None, spool=Path(sys.argv[3]), spool_limit=int(sys.argv[4]),
    environment=ENVIRONMENT)
take_logical(opened.repository, request, clock=SystemClock(), progress=NoProgress())
# not ru_maxrss: that begins with the peak of the process that started this one
print(int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024)
"""


class Watcher:
    """Looks at what the spool takes up on disk, again and again."""

    def __init__(self, place: Path) -> None:
        self.peak_bytes = 0
        self._place = place
        self._is_over = Event()
        self._thread = Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(0.02):
            taken = 0
            for parent, _, names in os.walk(self._place):
                for name in names:
                    try:
                        taken += os.stat(os.path.join(parent, name)).st_blocks * 512  # noqa: PTH116, PTH118
                    except FileNotFoundError:
                        continue
            self.peak_bytes = max(self.peak_bytes, taken)


@pytest.fixture
def source(server: ServerFactory, tmp_path: Path) -> Source:
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    return make_source(server(NEWEST, settings={"max_locks_per_transaction": "256"}), tmp_path)


@pytest.mark.endurance
@pytest.mark.parametrize(("limit", "rows"), [(256 * MIB, 2_000_000), (32 * MIB, 400_000)])
def test_two_gigabytes_in_bounded_memory_and_a_bounded_spool(source: Source, limit: int, rows: int) -> None:
    """One table of 1 kB a row: less than 400 MB of memory, and the spool holds its limit and what a moment brings."""
    source.server.sql(
        "CREATE TABLE wide AS SELECT g,"
        " (SELECT string_agg(md5((g * 37 + i)::text), '') FROM generate_series(1, 31) i) AS t"
        f" FROM generate_series(1, {rows}) g"
    )
    words: list[str | Path] = [sys.executable, "-c", TAKER, source.archive.config, source.server.dsn, source.spools]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}

    with Watcher(source.spools) as watcher:
        memory_bytes = int(run([*words, str(limit)], timeout=900, env=environment, cwd=ROOT))

    assert len(source.labels()) == 1
    assert watcher.peak_bytes < limit + 64 * MIB
    assert memory_bytes < 400 * MIB
    assert not list(source.spools.glob(f"{PREFIX}*"))


@pytest.mark.endurance
def test_five_thousand_tables(source: Source) -> None:
    """Each with its rows, its fingerprint and its file."""
    source.server.sql(
        "DO $$ BEGIN FOR n IN 1..5000 LOOP"
        " EXECUTE format('CREATE TABLE t%s AS SELECT g FROM generate_series(1, %s) g', n, n % 7); COMMIT;"
        " END LOOP; END $$"
    )

    manifest = source.take()

    tables = source.tables(manifest, "postgres")
    assert len(tables) == 5001
    assert all(each.fingerprint for each in tables.values())
    assert all(tables[f"public.t{n}"].rows == n % 7 for n in range(1, 5001))
    assert manifest.file_count == 5000 + 4
