"""A restore that fails half-way: pg_restore is gone, and no table is filled in part."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from pgvault.errors import ObjectCorrupt, PgvaultError, ProgramFailed
from pgvault.logical.restore import restore_into
from pgvault.logical.restoreplan import LogicalOrder
from pgvault.process import start
from pgvault.progress import NoProgress
from pgvault.repository.copies import Copy
from pgvault.repository.logical import LogicalManifest
from pgvault.repository.repository import Repository
from pgvault.stores.base import Names, ObjectEntry, ObjectStore
from tests.archive import ROOT, Archive, make_archive
from tests.logical.dumps import dump
from tests.servers import NEWEST, Server, ServerFactory
from tests.wal.servers import wait_until

ROWS = 60_000
RESTORE = """
import sys
from pathlib import Path
from pgvault.logical.restore import restore_into
from pgvault.logical.restoreplan import LogicalOrder
from pgvault.progress import NoProgress
from pgvault.repository.catalog import read_catalog
from pgvault.repository.keys import Credential
from pgvault.repository.copies import Copy
from pgvault.repository.repository import open_repository
from pgvault.stores.file import FileStore
from tests.archive import KEY
from tests.logical.test_restore_fails import Halting, replaced

root, dsn, pack, spool = sys.argv[1:]
repository = open_repository([Copy("primary", FileStore(Path(root)))], Credential("raw", KEY))
manifest = read_catalog(repository, "main").logical[0]
halting = replaced(repository, Halting(FileStore(Path(root)), pack))
restore_into(halting, manifest, LogicalOrder(dsn=dsn, spool=Path(spool), spool_limit=0), progress=NoProgress())
"""


@dataclass(slots=True)
class Halting:
    """A store that does something when one object is asked for; what it does by default never ends."""

    store: ObjectStore
    key: str
    action: Callable[[], object] = field(default=threading.Event().wait)

    def get(self, key: str) -> bytes:
        if key == self.key:
            self.action()
        return self.store.get(key)

    @property
    def url(self) -> str:
        return self.store.url

    def create_root(self) -> None:
        self.store.create_root()

    def put_if_absent(self, key: str, body: bytes) -> None:
        self.store.put_if_absent(key, body)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        return self.store.get_range(key, start, length)

    def size(self, key: str) -> int:
        return self.store.size(key)

    def children(self, prefix: str) -> Names:
        return self.store.children(prefix)

    def list(self, prefix: str) -> Iterator[ObjectEntry]:
        return self.store.list(prefix)

    def delete(self, key: str) -> None:
        self.store.delete(key)


def replaced(repository: Repository, store: ObjectStore) -> Repository:
    """The same repository by way of another store."""
    return replace(repository, copies=(Copy("primary", store),))


class Place:
    """A table of many packs, and a server for it."""

    def __init__(self, servers: ServerFactory, directory: Path) -> None:
        source = self.target = servers(NEWEST)
        source.sql("CREATE DATABASE shop")
        source.sql(f"CREATE TABLE big AS SELECT g, md5(g::text) FROM generate_series(1, {ROWS}) g", database="shop")
        source.sql("CREATE TABLE small AS SELECT 1 AS a", database="shop")
        self.servers = servers
        self.archive: Archive = make_archive(directory)
        self.manifest: LogicalManifest = dump(self.archive.repository, source, directory)
        self.middle = self.manifest.packs[len(self.manifest.packs) // 2].path  # of the large table

    def restore(self, server: Server, database: str, store: ObjectStore) -> None:
        order = LogicalOrder(dsn=server.dsn_of("postgres", database), spool_limit=0)
        restore_into(replaced(self.archive.repository, store), self.manifest, order, progress=NoProgress())

    @property
    def store(self) -> ObjectStore:
        return self.archive.repository.deciding.store


@pytest.fixture(scope="module")
def place(servers: ServerFactory, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(servers, tmp_path_factory.mktemp("failing"))


def restorers(mark: str) -> list[int]:
    """Processes of pg_restore whose words hold `mark`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if b"pg_restore" in words and mark.encode() in words:
            found.append(int(path.parent.name))
    return found


def rows(server: Server, database: str) -> int:
    """What the large table holds once nobody fills it any more; 0 where it is absent."""
    copying = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgvault' AND pid <> pg_backend_pid()"
    wait_until(lambda: server.value(copying, database=database) == 0)
    if server.value("SELECT to_regclass('big') IS NULL", database=database):
        return 0
    return int(str(server.value("SELECT count(*) FROM big", database=database)))


def is_filling(server: Server, database: str) -> bool:
    query = "SELECT count(*) FROM pg_stat_progress_copy WHERE bytes_processed > 100000"
    return server.value(query, database=database) == 1


def test_a_damaged_pack_leaves_no_table_filled_in_part(place: Place) -> None:
    """pg_restore is killed before it could take what was cut off for the whole."""
    place.target.sql("CREATE DATABASE damaged")

    def damaged() -> None:
        wait_until(lambda: is_filling(place.target, "damaged"))
        raise ObjectCorrupt("damaged")

    with pytest.raises(ObjectCorrupt, match="damaged"):
        place.restore(place.target, "damaged", Halting(place.store, place.middle, damaged))

    assert rows(place.target, "damaged") == 0
    assert restorers("dbname=damaged") == []


@pytest.mark.endurance
def test_killed_we_leave_no_table_filled_in_part(place: Place, tmp_path: Path) -> None:
    """SIGKILL closes our ends of every FIFO: pg_restore holds them itself, and dies with us.

    Its leash, which would kill it within a millisecond, is made to stand still for a while: long enough for an end of
    file to be taken for the end of the rows.
    """
    place.target.sql("CREATE DATABASE killed")
    script = tmp_path / "restore.py"
    script.write_text(RESTORE)
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    dsn = place.target.dsn_of("postgres", "killed")
    argv: list[str | Path] = [sys.executable, script, place.archive.root, dsn, place.middle, tmp_path]
    restoring = start(argv, env=env, log=tmp_path / "log")
    wait_until(lambda: is_filling(place.target, "killed"))
    (leash,) = [pid for pid in restorers(str(tmp_path)) if b"leash.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(leash, signal.SIGSTOP)

    restoring.signal(signal.SIGKILL)
    restoring.wait(10)

    try:
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            assert is_filling(place.target, "killed")
    finally:
        os.kill(leash, signal.SIGCONT)
    wait_until(lambda: restorers(str(tmp_path)) == [])
    assert rows(place.target, "killed") == 0


@pytest.mark.endurance
def test_a_server_that_stops_is_an_error(place: Place) -> None:
    """What pg_restore says of it is told; nothing is waited for."""
    server = place.servers(NEWEST)
    server.sql("CREATE DATABASE stopped")

    def stopped() -> None:
        wait_until(lambda: is_filling(server, "stopped"))
        server.kill()

    with pytest.raises(ProgramFailed, match="pg_restore"):
        place.restore(server, "stopped", Halting(place.store, place.middle, stopped))

    server.start()
    assert rows(server, "stopped") == 0


def test_a_store_that_fails_says_so(place: Place) -> None:
    """The first error counts, not the end of pg_restore that it brings about."""
    place.target.sql("CREATE DATABASE unreached")

    def fails() -> None:
        raise PgvaultError("the store is away")

    with pytest.raises(PgvaultError, match="the store is away") as raised:
        place.restore(place.target, "unreached", Halting(place.store, place.middle, fails))

    assert "'unreached'" in str(raised.value.hint)
