from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from pgvault.errors import (
    ObjectCorrupt,
    RepositoryForeign,
    RepositoryMissing,
    StoreUnreachable,
    WrongKey,
)
from pgvault.repository import layout
from pgvault.repository.copies import Copy
from pgvault.repository.keydocument import sign_key_document
from pgvault.repository.keys import Credential, encode_document
from pgvault.repository.repository import InitOutcome, Repository, init_repository, open_repository
from pgvault.stores.file import FileStore
from tests.fakes import MemoryStore

OTHER = Credential("raw", bytes(32))


def copies(*stores: MemoryStore) -> list[Copy]:
    return [Copy(f"copy{number}", store) for number, store in enumerate(stores)]


def test_init_makes_a_repository_that_opens(store: MemoryStore, credential: Credential, now: datetime) -> None:
    """What init returns is what the same key opens later; the identity is written last."""
    made, outcomes = init_repository(copies(store), credential, now=now)

    opened = open_repository(copies(store), credential)
    assert (opened.id, opened.keys) == (made.id, made.keys)
    assert outcomes == {"copy0": InitOutcome.CREATED}
    assert list(store.objects) == ["keys/00000001", "pgvault.json"]
    assert json.loads(store.objects["pgvault.json"])["created_at"] == "2026-01-15T10:30:00+00:00"


def test_init_makes_the_directory(tmp_path: Path, credential: Credential, now: datetime) -> None:
    """A file store's root is made by init, and by init only."""
    place = [Copy("primary", FileStore(tmp_path / "new" / "repository"))]

    with pytest.raises(StoreUnreachable):
        open_repository(place, credential)
    init_repository(place, credential, now=now)

    assert (tmp_path / "new" / "repository" / "pgvault.json").is_file()


def test_init_again_changes_nothing(
    repository: Repository, store: MemoryStore, credential: Credential, now: datetime
) -> None:
    """A second init is a no-op."""
    before = dict(store.objects)

    again, outcomes = init_repository(copies(store), credential, now=now + timedelta(days=1))

    assert again.id == repository.id
    assert outcomes == {"copy0": InitOutcome.UNCHANGED}
    assert store.objects == before


def test_init_with_another_key_is_refused(repository: Repository, store: MemoryStore, now: datetime) -> None:
    """An existing repository is not taken over."""
    before = dict(store.objects)

    with pytest.raises(WrongKey):
        init_repository(copies(store), OTHER, now=now)
    assert store.objects == before


@pytest.mark.parametrize("calls", range(5))
@pytest.mark.parametrize("dying", [0, 1])
def test_init_that_was_interrupted_is_continued(dying: int, calls: int, credential: Credential, now: datetime) -> None:
    """Whichever call init dies at, the next one ends with one whole repository in both copies."""
    stores = MemoryStore(), MemoryStore()
    stores[dying].fail_after_calls = calls
    with pytest.raises(StoreUnreachable):
        init_repository(copies(*stores), credential, now=now)
    stores[dying].fail_after_calls = None
    keys_before = stores[0].objects.get("keys/00000001")

    made, _ = init_repository(copies(*stores), credential, now=now + timedelta(hours=1))

    assert stores[0].objects == stores[1].objects
    assert keys_before in (None, stores[0].objects["keys/00000001"])
    for store in stores:
        assert open_repository(copies(store), credential).id == made.id


@pytest.mark.parametrize("put", [1, 2])
@pytest.mark.parametrize("fault", ["fail_puts", "lose_answers", "die_after_puts"])
def test_init_survives_puts_that_fail_or_lose_their_answer(
    put: int, fault: str, credential: Credential, now: datetime
) -> None:
    """A put that was done and not heard of is recognised as ours."""
    store = MemoryStore()
    setattr(store, fault, [put])
    if fault != "lose_answers":
        with pytest.raises(StoreUnreachable):
            init_repository(copies(store), credential, now=now)

    made, _ = init_repository(copies(store), credential, now=now)

    assert open_repository(copies(store), credential).id == made.id


def test_interrupted_init_is_not_continued_with_another_key(credential: Credential, now: datetime) -> None:
    """Its key document is there already, and that key does not open it."""
    store = MemoryStore(fail_puts=[2])
    with pytest.raises(StoreUnreachable):
        init_repository(copies(store), credential, now=now)

    with pytest.raises(WrongKey):
        init_repository(copies(store), OTHER, now=now)


def test_interrupted_init_is_no_repository(credential: Credential, now: datetime) -> None:
    """Without its identity nothing opens it."""
    store = MemoryStore(fail_puts=[2])
    with pytest.raises(StoreUnreachable):
        init_repository(copies(store), credential, now=now)

    with pytest.raises(RepositoryMissing):
        open_repository(copies(store), credential)


def test_second_copy_is_added_later(
    repository: Repository, store: MemoryStore, credential: Credential, now: datetime
) -> None:
    """A new copy receives the identity and every key document, byte for byte; the old one stays as it is."""
    first = json.loads(store.objects["keys/00000001"])
    store.objects["keys/00000002"] = sign_key_document(first, repository.keys.active, repository.id, number=2)
    before = dict(store.objects)
    second = MemoryStore()

    made, outcomes = init_repository(copies(store, second), credential, now=now)

    assert made.id == repository.id
    assert outcomes == {"copy0": InitOutcome.UNCHANGED, "copy1": InitOutcome.CREATED}
    assert store.objects == before
    assert second.objects == before
    assert list(second.objects)[-1] == "pgvault.json"


def test_copy_that_holds_another_repository_is_refused_before_anything_is_written(
    repository: Repository, store: MemoryStore, credential: Credential, now: datetime
) -> None:
    """Also under the same raw key: identities differ. The empty copy before it stays empty."""
    foreign, empty = MemoryStore(), MemoryStore()
    for key in (credential, OTHER):
        foreign.objects.clear()
        init_repository(copies(foreign), key, now=now)
        before = dict(foreign.objects)

        with pytest.raises(RepositoryForeign):
            init_repository(copies(store, empty, foreign), credential, now=now)
        assert not empty.objects
        assert foreign.objects == before


def test_copy_with_keys_of_another_repository_is_refused(
    repository: Repository, store: MemoryStore, credential: Credential, now: datetime
) -> None:
    """A half-made copy of something else is not completed to one of ours."""
    half = MemoryStore(fail_puts=[2])
    with pytest.raises(StoreUnreachable):
        init_repository(copies(half), credential, now=now)

    with pytest.raises(RepositoryForeign):
        init_repository(copies(store, half), credential, now=now)


@pytest.mark.parametrize("name", ["holiday.jpg", "archive.info", "clusters/main/systems/first", "keys/id_rsa"])
def test_directory_that_holds_something_else_is_refused(
    store: MemoryStore, credential: Credential, now: datetime, name: str
) -> None:
    """Nothing is put beside what is none of ours."""
    store.objects[name] = b"somebody's"

    with pytest.raises(RepositoryForeign) as caught:
        init_repository(copies(store), credential, now=now)
    assert list(store.objects) == [name]
    assert caught.value.hint


def test_what_a_file_store_hides_is_no_obstacle(directory: Path, credential: Credential, now: datetime) -> None:
    """An empty directory and a temporary file of a crashed put hold nothing."""
    (directory / "keys").mkdir(parents=True)
    (directory / ".tmp-0123456789abcdef").write_bytes(b"half")

    _, outcomes = init_repository([Copy("primary", FileStore(directory))], credential, now=now)

    assert outcomes == {"primary": InitOutcome.CREATED}


def test_nothing_there_is_a_missing_repository(store: MemoryStore, credential: Credential) -> None:
    """An empty bucket is told from a wrong key."""
    with pytest.raises(RepositoryMissing):
        open_repository(copies(store), credential)


def test_wrong_key_does_not_open(repository: Repository, store: MemoryStore) -> None:
    """Another key, or a passphrase, is a wrong key."""
    for credential in (OTHER, Credential("passphrase", b"words")):
        with pytest.raises(WrongKey):
            open_repository(copies(store), credential)


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("created_at", "2025-01-15T10:30:00+00:00", ObjectCorrupt),
        ("more", 1, ObjectCorrupt),
        ("repository_id", "00" * 16, RepositoryForeign),
        ("key_id", 2, ObjectCorrupt),
        ("key_id", [1], ObjectCorrupt),
        ("key_id", None, ObjectCorrupt),
        ("hmac", "", ObjectCorrupt),
        ("hmac", None, ObjectCorrupt),
        ("hmac", "ü", ObjectCorrupt),
    ],
)
def test_changed_identity_is_refused(
    repository: Repository,
    store: MemoryStore,
    credential: Credential,
    field: str,
    value: object,
    error: type[Exception],
) -> None:
    """Nobody without the key changes what a repository says it is."""
    identity = json.loads(store.objects[layout.IDENTITY])
    store.objects[layout.IDENTITY] = encode_document(identity | {field: value})

    with pytest.raises(error):
        open_repository(copies(store), credential)


def test_identity_without_keys_is_corrupt(repository: Repository, store: MemoryStore, credential: Credential) -> None:
    """A repository that has lost its key documents says so; what lies beside them under keys/ is not taken for one."""
    store.objects["keys/readme"] = store.objects.pop("keys/00000001")

    with pytest.raises(ObjectCorrupt):
        open_repository(copies(store), credential)


def test_last_key_document_counts(repository: Repository, store: MemoryStore, credential: Credential) -> None:
    """The highest number is the present state; names that are no number are not asked."""
    first = json.loads(store.objects["keys/00000001"])
    store.objects["keys/00000010"] = sign_key_document(first, repository.keys.active, repository.id, number=10)
    store.objects["keys/00000002"] = b"overtaken"
    store.objects["keys/zzz"] = b"none of ours"

    assert open_repository(copies(store), credential).id == repository.id
