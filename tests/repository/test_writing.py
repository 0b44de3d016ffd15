from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest

from pgvault.errors import (
    ObjectCorrupt,
    ObjectExists,
    PgvaultError,
    RepositoryForeign,
    RepositoryMissing,
    StoreUnreachable,
    WalMismatch,
)
from pgvault.pipeline.header import Kind
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.walname import WalSegment
from pgvault.repository import layout
from pgvault.repository.catalog import abort_label, commit_manifest, read_catalog
from pgvault.repository.copies import Copy
from pgvault.repository.keys import Credential
from pgvault.repository.objects import put_plain
from pgvault.repository.repository import Repository, init_repository
from pgvault.repository.systems import System, require_system
from pgvault.repository.tails import TailInfo, put_tail, remove_tails
from pgvault.repository.walobjects import WalInfo, WalOutcome, put_wal
from pgvault.repository.writing import put
from tests.fakes import MemoryStore
from tests.repository.samples import LABEL, make_manifest

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
SYSTEM = 7501234567890123456
NAME = "0000000100000016000000B3"
WAL = layout.wal_file("main", SYSTEM, NAME)
PACK = layout.pack("main", LABEL, 0)
ROOT = layout.manifest("main", LABEL)
CONTENT = b"record " * 5000


def make(**modes: tuple[bool, bool]) -> tuple[Repository, dict[str, MemoryStore]]:
    """A repository with a deciding copy and others, each (sync for backups, sync for WAL)."""
    stores = {name: MemoryStore() for name in ("primary", *modes)}
    copies = [Copy("primary", stores["primary"])]
    copies += [Copy(name, stores[name], *mode) for name, mode in modes.items()]
    return init_repository(copies, Credential("raw", bytes(32)), now=NOW)[0], stores


def push(repository: Repository, content: bytes = CONTENT) -> WalOutcome:
    digest = hashlib.sha256(content).digest()
    info = WalInfo(NAME, len(content), digest, SYSTEM, 1, Lsn.parse("16/B3000000"), NOW, NOW)
    return put_wal(repository, "main", info, content=content)


def unreachable(store: MemoryStore) -> None:
    store.fail_after_calls = len(store.calls)


@pytest.mark.parametrize(
    ("path", "reached"),
    [
        (WAL, {"wal", "both"}),
        (layout.wal_file("main", SYSTEM, "00000002.history"), {"wal", "both"}),
        (layout.tail("main", SYSTEM, NAME, start=0, end=8), {"wal", "both"}),
        (PACK, {"backups", "both"}),
        (layout.system("main", SYSTEM), {"backups", "both"}),
        (layout.lease("backup-main", 0), set()),
        ("probes/0", set()),
        ("quarantine/0/clusters/main/wal/1/2", set()),
    ],
)
def test_a_name_says_which_copies_are_waited_for(path: str, reached: set[str]) -> None:
    """WAL and backups are set apart; what is of one copy alone goes nowhere else."""
    repository, stores = make(backups=(True, False), wal=(False, True), both=(True, True), neither=(False, False))

    put(repository, path, b"bytes")

    assert {name for name, store in stores.items() if path in store.objects} == {"primary", *reached}


def test_every_sync_copy_holds_the_very_bytes() -> None:
    """An object is sealed once: what one copy lacks comes from any other."""
    repository, stores = make(dr=(True, True))

    put_plain(repository, PACK, Kind.PACK, plain=b"pages")
    push(repository)

    assert stores["dr"].objects == stores["primary"].objects


def test_a_lost_race_reaches_no_other_copy() -> None:
    """What did not win in the deciding copy is nowhere."""
    repository, stores = make(dr=(True, True))
    stores["primary"].objects[PACK] = b"another's"

    with pytest.raises(ObjectExists):
        put(repository, PACK, b"bytes")
    assert PACK not in stores["dr"].objects


@pytest.mark.parametrize("path", [WAL, PACK])
def test_a_sync_copy_that_fails_fails_the_put(path: str) -> None:
    """The sentence names the copy, and the setting that would let it go on; its kind of error stays."""
    repository, stores = make(dr=(True, True))
    unreachable(stores["dr"])

    with pytest.raises(StoreUnreachable, match="sync copy 'dr' did not take") as caught:
        put(repository, path, b"bytes")
    assert f"copies.dr.{'wal' if path == WAL else 'backups'}: async" in (caught.value.hint or "")


@pytest.mark.parametrize("path", [WAL, PACK, ROOT])
def test_nothing_is_put_into_a_copy_that_is_not_this_repository(path: str) -> None:
    """An empty directory may be one whose disk is not mounted; what is there may be somebody else's."""
    repository, stores = make(dr=(True, True))
    identity = stores["dr"].objects.pop(layout.IDENTITY)
    with pytest.raises(RepositoryMissing, match="sync copy 'dr'"):
        put(repository, path, b"bytes")

    other, _ = make()
    stores["dr"].objects[layout.IDENTITY] = other.deciding.store.get(layout.IDENTITY)
    with pytest.raises(RepositoryForeign, match="sync copy 'dr'"):
        put(repository, path, b"bytes")
    assert path not in stores["dr"].objects

    stores["dr"].objects[layout.IDENTITY] = identity
    for number in range(3):
        put(repository, f"{path}{number}", b"bytes")
    assert stores["dr"].calls.count(("get", layout.IDENTITY)) == 3


def test_a_dead_async_copy_is_not_asked() -> None:
    """Not for a segment, not for its system, not for its tails: the primary's archiver must never wait for it."""
    repository, stores = make(dr=(False, False))
    unreachable(stores["dr"])
    asked = len(stores["dr"].calls)

    require_system(repository, "main", System(SYSTEM, 18), now=NOW)
    push(repository)
    store_tail(repository)
    remove_tails(repository, "main", SYSTEM, SEGMENT)

    assert len(stores["dr"].calls) == asked


def test_a_push_again_brings_the_winner_to_a_sync_copy_that_lacks_it() -> None:
    """A push that was killed between two copies is repeated by the archiver: then both hold what won first."""
    repository, stores = make(dr=(True, True))
    unreachable(stores["dr"])
    with pytest.raises(StoreUnreachable):
        push(repository)
    stores["dr"].fail_after_calls = None

    assert push(repository) is WalOutcome.ALREADY
    assert stores["dr"].objects[WAL] == stores["primary"].objects[WAL]


def test_a_damaged_winner_is_not_spread() -> None:
    """What the deciding copy holds is looked at before it goes elsewhere."""
    repository, stores = make(dr=(True, True))
    push(repository)
    del stores["dr"].objects[WAL]
    stores["primary"].objects[WAL] = stores["primary"].objects[WAL][:-1]

    with pytest.raises(ObjectCorrupt):
        push(repository)
    assert WAL not in stores["dr"].objects


def test_other_content_is_a_mismatch_whatever_the_copies_hold() -> None:
    """A second server's segment goes into no copy."""
    repository, stores = make(dr=(True, True))
    push(repository)
    del stores["dr"].objects[WAL]

    with pytest.raises(WalMismatch):
        push(repository, CONTENT + b"other")
    assert WAL not in stores["dr"].objects


def test_a_cut_object_in_a_sync_copy_is_named() -> None:
    """It is neither overwritten nor taken for the winner's."""
    repository, stores = make(dr=(True, True))
    push(repository)
    stores["dr"].objects[WAL] = stores["dr"].objects[WAL][:-1]

    with pytest.raises(ObjectCorrupt, match="sync copy 'dr'") as caught:
        push(repository)
    assert "verify --copy dr --repair" in (caught.value.hint or "")


def test_the_root_comes_into_the_deciding_copy_last() -> None:
    """Committed means: in the deciding copy; by then every sync copy has it."""
    repository, stores = make(dr=(True, True))
    unreachable(stores["dr"])

    with pytest.raises(StoreUnreachable, match="sync copy 'dr'"):
        commit_manifest(repository, make_manifest())
    assert ROOT not in stores["primary"].objects

    stores["dr"].fail_after_calls = None
    commit_manifest(repository, make_manifest())
    assert stores["dr"].objects[ROOT] == stores["primary"].objects[ROOT]


def test_an_aborted_label_gets_a_root_in_no_copy() -> None:
    """Also where the sync copy never heard that it was aborted."""
    repository, stores = make(dr=(True, True))
    abort_label(repository, "main", LABEL, reason="taken for dead")
    del stores["dr"].objects[ROOT]

    with pytest.raises(ObjectExists):
        commit_manifest(repository, make_manifest())
    assert ROOT not in stores["dr"].objects


def test_a_root_in_a_sync_copy_alone_is_no_backup_once_aborted() -> None:
    """The deciding copy decides, whatever a sync copy holds or does not answer."""
    repository, stores = make(dr=(True, True))
    stores["primary"].fail_puts = {stores["primary"].puts + 1}
    with pytest.raises(PgvaultError):
        commit_manifest(repository, make_manifest())
    assert ROOT in stores["dr"].objects

    abort_label(repository, "main", LABEL, reason="killed")

    assert read_catalog(repository, "main").aborted == (LABEL,)


SEGMENT = WalSegment.parse(NAME, 1 << 20)


def store_tail(repository: Repository) -> str:
    content = b"12345678"
    put_tail(
        repository, "main", TailInfo(SEGMENT, 0, 8, SYSTEM, hashlib.sha256(content).digest(), NOW), content=content
    )
    return layout.tail("main", SYSTEM, NAME, start=0, end=8)


def test_tails_go_from_sync_copies_when_the_segment_is_there() -> None:
    """Where a copy lacks the segment it is brought first: its tail may be all that it has."""
    repository, stores = make(dr=(True, True))
    tail = store_tail(repository)
    push(repository)
    del stores["dr"].objects[WAL]

    remove_tails(repository, "main", SYSTEM, SEGMENT)

    assert WAL in stores["dr"].objects
    assert [tail in store.objects for store in stores.values()] == [False, False]
