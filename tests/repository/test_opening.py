"""Opening for reading: by what the copies hold between them, without those that are gone, never by a foreign one."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import datetime

import pytest

from pgvault.errors import (
    ObjectCorrupt,
    PgvaultError,
    RepositoryForeign,
    RepositoryMissing,
    StoreDenied,
    StoreUnreachable,
    WrongKey,
)
from pgvault.repository import layout
from pgvault.repository.copies import Copy
from pgvault.repository.keys import Credential
from pgvault.repository.opening import open_for_reading
from pgvault.repository.repository import Repository, init_repository
from tests.fakes import MemoryStore
from tests.repository.copies import Versioned

KEYS = layout.key_document(1)
IDENTITY = layout.IDENTITY
CREDENTIAL = Credential("raw", bytes(range(32)))


class Mute(MemoryStore):
    """A store that answers nothing."""

    def __init__(self, error: PgvaultError | None = None) -> None:
        super().__init__()
        self.error = error or StoreUnreachable("no answer")

    def _note(self, verb: str, key: str) -> None:
        super()._note(verb, key)
        raise type(self.error)(str(self.error))


@pytest.fixture
def pair(now: datetime) -> tuple[MemoryStore, MemoryStore]:
    """Two copies of one repository."""
    primary, dr = MemoryStore(), MemoryStore()
    init_repository([Copy("primary", primary), Copy("dr", dr)], CREDENTIAL, now=now)
    return primary, dr


def opened(*stores: MemoryStore, looks_at_all: bool = True, credential: Credential = CREDENTIAL) -> Repository:
    names = ("primary", "dr", "vault")
    copies = [Copy(name, store) for name, store in zip(names, stores, strict=False)]
    return open_for_reading(copies, credential, looks_at_all=looks_at_all)


def names(repository: Repository) -> list[str]:
    return [copy.name for copy in repository.copies]


def flip(store: MemoryStore, path: str) -> None:
    body = bytearray(store.objects[path])
    body[len(body) // 2] ^= 1
    store.objects[path] = bytes(body)


def cut(store: MemoryStore, path: str) -> None:
    store.objects[path] = store.objects[path][:-9]


def lose(store: MemoryStore, path: str) -> None:
    del store.objects[path]


def swap(store: MemoryStore, _path: str) -> None:
    store.objects[IDENTITY], store.objects[KEYS] = store.objects[KEYS], store.objects[IDENTITY]


def test_whole_copies_are_all_read(pair: tuple[MemoryStore, MemoryStore]) -> None:
    """Nothing is left out, nothing noted, and what can be written may be."""
    repository = opened(*pair)

    assert names(repository) == ["primary", "dr"]
    assert repository.unread == {}
    assert repository.reader.damages == ()
    assert repository.deciding.name == "primary"


@pytest.mark.parametrize("error", [StoreUnreachable("no answer"), StoreDenied("go away")])
@pytest.mark.parametrize("looks_at_all", [True, False])
def test_unreachable_first_copy_is_left_out(
    pair: tuple[MemoryStore, MemoryStore],
    error: PgvaultError,
    looks_at_all: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The next one opens, it is said in one line, and nothing can be written."""
    repository = opened(Mute(error), pair[1], looks_at_all=looks_at_all)

    assert names(repository) == ["dr"]
    assert list(repository.unread) == ["primary"]
    assert [(e.name, e.is_deciding) for e in repository.left_out] == [("primary", True)]
    assert len(caplog.records) == 1
    with pytest.raises(type(error), match="nothing can be written without copy 'primary'"):
        _ = repository.deciding


def test_empty_first_copy_is_left_out(pair: tuple[MemoryStore, MemoryStore], caplog: pytest.LogCaptureFixture) -> None:
    """A disk that is not mounted, a bucket that somebody emptied: its absences count for nothing."""
    repository = opened(MemoryStore(), pair[1])

    assert names(repository) == ["dr"]
    assert isinstance(repository.unread["primary"], RepositoryMissing)
    assert len(caplog.records) == 1


def test_unreachable_further_copy_is_rested_and_kept(
    pair: tuple[MemoryStore, MemoryStore], caplog: pytest.LogCaptureFixture
) -> None:
    """It may be back before the end of a long restore."""
    repository = opened(pair[0], Mute())

    assert names(repository) == ["primary", "dr"]
    assert list(repository.unread) == ["dr"]
    assert repository.deciding.name == "primary"
    assert len(caplog.records) == 1


def test_one_object_asks_no_further_copy(pair: tuple[MemoryStore, MemoryStore]) -> None:
    """`wal fetch` runs once per segment: a dead second region must cost it nothing."""
    dead = Mute()

    repository = opened(pair[0], dead, looks_at_all=False)

    assert names(repository) == ["primary", "dr"]
    assert dead.calls == []


@pytest.mark.parametrize("looks_at_all", [True, False])
@pytest.mark.parametrize("path", [IDENTITY, KEYS])
@pytest.mark.parametrize("harm", [flip, cut, lose, swap])
@pytest.mark.parametrize("where", [0, 1])
def test_damaged_identity_is_said_and_the_copy_is_read(
    pair: tuple[MemoryStore, MemoryStore],
    harm: Callable[[MemoryStore, str], None],
    path: str,
    where: int,
    looks_at_all: bool,
) -> None:
    """Half of the good objects may be in it: each proves itself."""
    harm(pair[where], path)

    repository = opened(*pair, looks_at_all=looks_at_all)

    assert names(repository) == ["primary", "dr"]
    assert repository.unread == {}
    if looks_at_all or where == 0:
        assert {damage.copy for damage in repository.reader.damages} == {("primary", "dr")[where]}


def test_identity_of_one_copy_and_keys_of_the_other_open(pair: tuple[MemoryStore, MemoryStore]) -> None:
    """Whatever is whole somewhere is enough."""
    flip(pair[0], IDENTITY)
    lose(pair[1], KEYS)

    repository = opened(*pair)

    assert {(d.copy, d.path) for d in repository.reader.damages} == {("primary", IDENTITY), ("dr", KEYS)}


def test_flipped_id_is_damage_and_no_other_repository(pair: tuple[MemoryStore, MemoryStore]) -> None:
    """Ids are random: one that differs in a digit was ours, also where nothing else in that copy says so."""
    document = json.loads(pair[0].objects[KEYS])
    changed = ("1" if document["repository_id"][7] == "0" else "0").join(
        (document["repository_id"][:7], document["repository_id"][8:])
    )
    pair[0].objects[KEYS] = json.dumps(document | {"repository_id": changed}).encode()
    lose(pair[0], IDENTITY)

    repository = opened(*pair)

    assert {damage.path for damage in repository.reader.damages} == {IDENTITY, KEYS}


def test_nothing_opens_without_an_identity(pair: tuple[MemoryStore, MemoryStore]) -> None:
    """One whole identity is needed; a changed one is none."""
    for store in pair:
        document = json.loads(store.objects[IDENTITY])
        store.objects[IDENTITY] = json.dumps(document | {"created_at": "2001-01-01T00:00:00+00:00"}).encode()

    with pytest.raises(ObjectCorrupt, match="was changed"):
        opened(*pair)


@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize("key", [CREDENTIAL, Credential("raw", bytes(32))])
def test_foreign_copy_is_always_an_error(
    pair: tuple[MemoryStore, MemoryStore], now: datetime, at: int, key: Credential
) -> None:
    """Whether our key opens it or not, wherever it stands."""
    foreign = MemoryStore()
    init_repository([Copy("other", foreign)], key, now=now)
    stores = list(pair)
    stores[at] = foreign

    with pytest.raises(RepositoryForeign):
        opened(*stores)


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("path", [IDENTITY, KEYS])
@pytest.mark.parametrize("body", [b"ransom", None, b"foreign"])
def test_identity_that_was_written_over_is_had_from_its_oldest_version(
    now: datetime, copies: int, path: str, body: bytes | None
) -> None:
    """A lock keeps the version, and whoever took the host over can only hide it, in every copy."""
    stores = [Versioned() for _ in range(copies)]
    init_repository([Copy(name, s) for name, s in zip(("primary", "dr"), stores, strict=False)], CREDENTIAL, now=now)
    foreign = MemoryStore()
    init_repository([Copy("other", foreign)], Credential("raw", bytes(32)), now=now)
    for store in stores:
        store.overwrite(path, foreign.objects[path] if body == b"foreign" else body)
        (other,) = {IDENTITY, KEYS} - {path}
        store.kept[other] = [store.objects[other]]

    repository = opened(*stores)

    found = {(damage.copy, damage.path, damage.is_older) for damage in repository.reader.damages}
    assert ("primary", path, True) in found
    with pytest.raises((WrongKey, ObjectCorrupt, RepositoryMissing)):  # what is wrong now is what is said
        opened(*stores, credential=Credential("raw", b"1" * 32))


def test_wrong_key_is_said_before_silence(pair: tuple[MemoryStore, MemoryStore]) -> None:
    """What can be put right is what the operator hears."""
    with pytest.raises(WrongKey):
        opened(Mute(), pair[1], credential=Credential("raw", bytes(32)))


def test_nobody_answers(pair: tuple[MemoryStore, MemoryStore]) -> None:
    """Then the first copy's silence is the error."""
    with pytest.raises(StoreUnreachable):
        opened(Mute(), Mute(StoreDenied("go away")))
    with pytest.raises(StoreUnreachable):
        opened(Mute(), MemoryStore())
    with pytest.raises(RepositoryMissing):
        opened(MemoryStore(), MemoryStore())
    assert pair[0].objects


def test_damage_at_opening_counts_like_any_other(
    pair: tuple[MemoryStore, MemoryStore], caplog: pytest.LogCaptureFixture
) -> None:
    """A restore reports it with the rest."""
    cut(pair[0], IDENTITY)

    with caplog.at_level(logging.WARNING):
        repository = opened(*pair)

    (damage,) = repository.reader.damages
    assert (damage.copy, damage.path, damage.taken_from) == ("primary", IDENTITY, "dr")
    assert len(caplog.records) == 1
