"""Make the golden repository of logical backups: `python -m tests.golden.make_logical`, once.

    PostgreSQL 18: two databases, a partition, large objects, odd names ─► backup --type logical, … --class, … schema

and beside them what came to format 1 after the first golden repository was frozen: a streamed tail, a gap. Like that
one it is never made anew (tests/golden/make.py); what it must hold is in format1-logical.json.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from pgvault.postgres.instance import Instance, init_cluster
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.postgres.programs import find_programs
from pgvault.postgres.walname import WalSegment
from pgvault.process import run
from pgvault.repository.gaps import GapRecord, put_gap
from pgvault.repository.repository import Repository
from pgvault.repository.tails import TailInfo, put_tail
from tests.golden.describe import (
    CLUSTER,
    KEY,
    LOGICAL_EXPECTED,
    LOGICAL_REPOSITORY,
    describe_logical,
    open_directory,
    raw_credential,
)
from tests.golden.make import MAJOR, ROOT, sql, start

ODD = 'shop "quoted" – Käse'
DEFINITIONS = (
    "CREATE TABLE golden (id int PRIMARY KEY, note text NOT NULL)",
    "INSERT INTO golden SELECT n, 'note ' || n FROM generate_series(1, 100) n",
    "CREATE TABLE days (day date, total numeric(12,2)) PARTITION BY RANGE (day)",
    "CREATE TABLE days_2026 PARTITION OF days FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
    "INSERT INTO days VALUES ('2026-01-15', 40.10), ('2026-01-16', NULL)",
    'CREATE TABLE "odd ""name""\n" (" " text)',
    'INSERT INTO "odd ""name""\n" VALUES (E\'line\\nend\'), (NULL), (\'\\.\')',
    "CREATE TABLE nothing ()",
    "SELECT lo_from_bytea(4711, decode(repeat('00ff', 5000), 'hex'))",
)
AT = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)


def main() -> None:
    """Make it in a temporary directory, then copy it here."""
    if LOGICAL_REPOSITORY.exists():
        raise SystemExit(f"{LOGICAL_REPOSITORY} is there and is never made anew")
    work = Path(tempfile.mkdtemp(prefix="pgvault-golden-", dir="/tmp"))
    try:
        expected = make(work)
        shutil.copytree(work / "repository", LOGICAL_REPOSITORY)
    finally:
        shutil.rmtree(work)
    LOGICAL_EXPECTED.write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")


def make(work: Path) -> dict[str, object]:
    """Make the repository in `work`; return what it must hold."""
    command = write_configuration(work)
    programs = find_programs(MAJOR)
    init_cluster(programs, work / "data", wal_segsize_mib=1)
    (work / "socket").mkdir(mode=0o700)
    server = Instance(programs, work / "data", work / "socket", work / "log")
    try:
        start(server, {"autovacuum": "off", "max_wal_size": "64MB"})
        sql(server, "CREATE ROLE golden_owner")
        for statement in DEFINITIONS:
            sql(server, statement)
        sql(server, 'CREATE DATABASE "{}" OWNER golden_owner'.format(ODD.replace('"', '""')))
        run([command, "init"], timeout=60)
        for words in (["logical"], ["logical", "--class", "critical"], ["schema"]):
            run([command, "backup", "--type", *words], timeout=120)
    finally:
        server.kill()
    repository = open_directory(work / "repository", raw_credential())
    add_later_kinds(repository)
    return describe_logical(repository, work / "repository")


def write_configuration(work: Path) -> Path:
    """Write pgvault.yaml with a data class, and a command that uses it."""
    (work / "pgvault.yaml").write_text(
        f"repository: {{key: 'file:{KEY}', copies: {{golden: {{url: 'file://{work}/repository'}}}}}}\n"
        f'clusters: {{{CLUSTER}: {{dsn: "host={work}/socket user=postgres dbname=postgres", '
        "classes: {critical: {tables: ['public.days']}}}}\n"
    )
    command = work / "pgvault"
    environment = f"PYTHONPATH={ROOT} PGVAULT_CONFIG={work}/pgvault.yaml"
    command.write_text(f'#!/bin/sh\nexec /usr/bin/env {environment} {sys.executable} -m pgvault "$@"\n')
    command.chmod(0o755)
    return command


def add_later_kinds(repository: Repository) -> None:
    """Add a tail and a gap."""
    content = b"sixteen bytes of"
    segment = WalSegment(1, 9, MIB)
    tail = TailInfo(segment, 8, 24, 7, hashlib.sha256(content).digest(), AT)
    put_tail(repository, CLUSTER, tail, content=content)
    put_gap(repository, CLUSTER, GapRecord(7, 1, Lsn(7 * MIB), Lsn(9 * MIB), "slot lost", AT))


if __name__ == "__main__":
    main()
