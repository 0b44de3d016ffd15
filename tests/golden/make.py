"""Make the golden repository of format 1: `python -m tests.golden.make`, once, on the day the format is fixed.

    a cluster of PostgreSQL 18 with 1 MiB segments ─► init, check, backup ─► rows, a restore point, rows
                                                   ─► killed, recovered onto timeline 2 ─► rows

and beside it an aborted label, an unfinished one, a drill report and a second key document with a passphrase slot. It
refuses to overwrite: the repository that is there must open for ever, and a newer one would prove nothing. What
it must hold is written to format1.json, the rows that restores must find too.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from pgvault.pipeline.header import Kind
from pgvault.pipeline.seal import RepositoryKey
from pgvault.postgres.instance import Instance, init_cluster
from pgvault.postgres.programs import find_programs
from pgvault.process import run
from pgvault.repository import keys, layout
from pgvault.repository.catalog import abort_label
from pgvault.repository.keys import Credential
from pgvault.repository.objects import put_json, put_plain
from pgvault.repository.repository import Repository
from pgvault.repository.slots import wrap_key
from tests.golden.describe import (
    CLUSTER,
    EXPECTED,
    GOLDEN,
    KEY,
    PASSPHRASE,
    REPOSITORY,
    RESTORE_POINT,
    TOTALS,
    describe,
    open_directory,
    raw_credential,
)

ROOT = GOLDEN.parent.parent
MAJOR = 18
WAIT_SECONDS = 30
SETTINGS = {
    "archive_mode": "on",
    "wal_level": "replica",
    "autovacuum": "off",
    "max_wal_size": "64MB",
    "archive_timeout": "1h",
}


def main() -> None:
    """Make it in a temporary directory, then copy it here."""
    if REPOSITORY.exists():
        raise SystemExit(f"{REPOSITORY} is there and is never made anew")
    KEY.write_text(bytes(range(32)).hex() + "\n")
    PASSPHRASE.write_text("golden words\n")
    work = Path(tempfile.mkdtemp(prefix="pgvault-golden-", dir="/tmp"))
    try:
        expected = make(work)
        shutil.copytree(work / "repository", REPOSITORY)
    finally:
        shutil.rmtree(work)
    EXPECTED.write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")


def make(work: Path) -> dict[str, object]:
    """Make the repository in `work`; return what it must hold."""
    command = write_configuration(work)
    server = make_cluster(work)
    settings = SETTINGS | {"archive_command": f"{command} wal push %p"}
    rows: dict[str, object] = {}
    try:
        start(server, settings)
        run([command, "init"], timeout=60)
        fill(server)
        run([command, "backup"], timeout=120)
        insert(server, 101, 150)
        sql(server, f"SELECT pg_create_restore_point('{RESTORE_POINT}')")
        rows["restore point"] = totals(server)
        insert(server, 151, 160)
        run([command, "check"], timeout=60)
        rows["timeline 1"] = totals(server)
        wait_for_archive(server, work)
        change_timeline(server, settings)
        insert(server, 161, 170)
        rows["latest"] = totals(server)
        wait_for_archive(server, work)
    finally:
        server.kill()
    repository = open_directory(work / "repository", raw_credential())
    add_odds(repository)
    add_passphrase(repository)
    return describe(repository, work / "repository") | {"rows": rows}


def write_configuration(work: Path) -> Path:
    """Write pgvault.yaml and a command that uses it; nothing of this machine gets into the repository but `work`."""
    (work / "pgvault.yaml").write_text(
        f"repository: {{key: 'file:{KEY}', copies: {{golden: {{url: 'file://{work}/repository'}}}}}}\n"
        f'clusters: {{{CLUSTER}: {{dsn: "host={work}/socket user=postgres dbname=postgres"}}}}\n'
    )
    command = work / "pgvault"
    environment = f"PYTHONPATH={ROOT} PGVAULT_CONFIG={work}/pgvault.yaml"
    command.write_text(f'#!/bin/sh\nexec /usr/bin/env {environment} {sys.executable} -m pgvault "$@"\n')
    command.chmod(0o755)
    return command


def make_cluster(work: Path) -> Instance:
    """Make a cluster with what a file list may hold: odd names, holes, links, a file outside."""
    programs = find_programs(MAJOR)
    data = work / "data"
    init_cluster(programs, data, wal_segsize_mib=1)
    (work / "socket").mkdir(mode=0o700)
    (data / "odd").mkdir()
    for name in (b"latin \xe9", b"new\nline", b'quote"back\\slash', "käse".encode(), b" "):
        (data / "odd" / os.fsdecode(name)).write_bytes(name)
    (data / "odd" / "empty").touch()
    (data / "odd" / "holes").write_bytes(b"x" * 70_000 + bytes(400_000) + b"y" + bytes(65_536))
    (data / "odd" / "link").symlink_to("holes")
    (work / "pg_hba.conf").write_text("local all all trust\n")
    return Instance(programs, data, work / "socket", work / "log", hba_file=work / "pg_hba.conf")


def start(server: Instance, settings: Mapping[str, str]) -> None:
    """Start the server and wait until it writes."""
    server.start(settings)
    server.wait_ready(WAIT_SECONDS)


def fill(server: Instance) -> None:
    """Drop what only takes room, make the table and its first hundred rows."""
    sql(server, "UPDATE pg_database SET datistemplate = false WHERE datname = 'template0'")
    sql(server, "DROP DATABASE template0")
    sql(server, "CREATE TABLE golden (id int PRIMARY KEY, note text NOT NULL)")
    sql(server, "CREATE UNLOGGED TABLE forgotten (id int)")
    insert(server, 1, 100)


def insert(server: Instance, first: int, last: int) -> None:
    """Add rows, each in a transaction of its own."""
    for number in range(first, last + 1):
        sql(server, f"INSERT INTO golden VALUES ({number}, 'note {number}')")


def totals(server: Instance) -> list[object]:
    """What a restore to this moment must find."""
    count, total, digest = sql(server, TOTALS)[0]
    return [count, total, digest]


def change_timeline(server: Instance, settings: dict[str, str]) -> None:
    """Kill the server and let it recover to the end of its WAL, as after a failover: timeline 2 begins."""
    insert(server, 1001, 1005)
    sql(server, "DELETE FROM golden WHERE id > 1000")
    server.kill()
    (server.data / "recovery.signal").touch()
    start(server, settings | {"restore_command": "/bin/false"})
    deadline = time.monotonic() + WAIT_SECONDS
    while sql(server, "SELECT pg_is_in_recovery()") != [(False,)]:
        if time.monotonic() > deadline:
            raise SystemExit("the server did not leave recovery")
        time.sleep(0.1)


def wait_for_archive(server: Instance, work: Path) -> None:
    """Switch to a new segment and wait until the one before is in the repository."""
    sql(server, "SELECT pg_create_restore_point('something to switch behind')")
    ((name,),) = sql(server, "SELECT pg_walfile_name(pg_current_wal_lsn())")
    sql(server, "SELECT pg_switch_wal()")
    deadline = time.monotonic() + WAIT_SECONDS
    while not list((work / "repository").rglob(str(name))):
        if time.monotonic() > deadline:
            raise SystemExit(f"{name} was not archived")
        time.sleep(0.1)


def sql(server: Instance, text: str) -> list[tuple[object, ...]]:
    """Run one statement in a transaction of its own."""
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        cursor = connection.execute(text.encode())
        return cursor.fetchall() if cursor.description else []


def add_odds(repository: Repository) -> None:
    """Add what a repository also holds: an aborted label, an unfinished one, a drill report."""
    at = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
    abort_label(repository, CLUSTER, layout.make_label(at, b"\0\1"), reason="the golden repository wants one")
    unfinished = layout.make_label(at, b"\0\2")
    put_plain(repository, layout.pack(CLUSTER, unfinished, 0), Kind.PACK, plain=b"never referenced")
    report = {"drill": 1, "passed": True, "checks": []}
    path = f"{layout.drills(CLUSTER)}/{layout.make_label(at, bytes([0, 3]))}"
    put_json(repository, path, Kind.DRILL, document=report)


def add_passphrase(repository: Repository) -> None:
    """Put keys/00000002: the same key with a raw slot and a passphrase slot."""
    key = repository.keys.active
    words = Credential("passphrase", PASSPHRASE.read_bytes().removesuffix(b"\n"))
    slots = [wrap_key(RepositoryKey(key.id, key.secret), each, repository.id) for each in (raw_credential(), words)]
    document: dict[str, object] = {
        "pgvault_keys": 1,
        "repository_id": repository.id.hex(),
        "active": key.id,
        "keys": [{"id": key.id, "slots": slots}],
    }
    document["hmac"] = keys.document_hmac(document, key, repository.id)
    repository.deciding.store.put_if_absent(layout.key_document(2), keys.encode_document(document))


if __name__ == "__main__":
    main()
