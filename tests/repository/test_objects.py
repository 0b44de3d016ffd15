from __future__ import annotations

import hashlib
import json

import pytest

from pgvault.errors import ObjectCorrupt, ObjectExists, ObjectMissing
from pgvault.pipeline.header import Kind
from pgvault.repository.objects import (
    Stored,
    put_frames,
    put_json,
    put_plain,
    read_frames,
    read_json,
    read_plain,
)
from pgvault.repository.repository import Repository
from tests.fakes import MemoryStore

PATH = "clusters/main/drills/x"


def test_object_reads_back(repository: Repository, store: MemoryStore) -> None:
    """What `put` says about an object is true of the bytes in the store."""
    stored = put_frames(repository, PATH, Kind.DRILL, frames=[b"one", b"two"])

    body = store.objects[PATH]
    assert stored == Stored(PATH, len(body), hashlib.sha256(body).digest(), 2)
    assert list(read_frames(repository, PATH, Kind.DRILL, expected=stored)) == [b"one", b"two"]
    assert Stored.from_json(json.loads(json.dumps(stored.to_json()))) == stored


def test_put_whose_answer_was_lost_succeeds(repository: Repository, store: MemoryStore) -> None:
    """A retry meets its own object and knows it by salt and nonce."""
    store.lose_answers = [store.puts + 1]

    put_plain(repository, PATH, Kind.DRILL, plain=b"report")

    assert read_plain(repository, PATH, Kind.DRILL) == b"report"


def test_second_object_of_a_name_is_refused(repository: Repository, store: MemoryStore) -> None:
    """Nothing is ever overwritten, not even by the same plaintext."""
    put_plain(repository, PATH, Kind.DRILL, plain=b"report")
    before = dict(store.objects)

    with pytest.raises(ObjectExists):
        put_plain(repository, PATH, Kind.DRILL, plain=b"report")
    assert store.objects == before


def test_object_of_the_right_name_and_other_bytes_is_refused(repository: Repository, store: MemoryStore) -> None:
    """One that opens, and is not the one a root names, does not count: it may be an old or a second one."""
    stored = put_plain(repository, PATH, Kind.PACK, plain=b"first")
    store.delete(PATH)
    put_plain(repository, PATH, Kind.PACK, plain=b"first")

    assert read_plain(repository, PATH, Kind.PACK) == b"first"
    with pytest.raises(ObjectCorrupt):
        read_plain(repository, PATH, Kind.PACK, expected=stored)


def test_missing_object_is_missing(repository: Repository) -> None:
    """Absence keeps its own error."""
    with pytest.raises(ObjectMissing):
        read_plain(repository, PATH, Kind.PACK)


@pytest.mark.parametrize("plain", [b"", b"[1]", b"null", b"{", b"\xff"])
def test_sealed_document_that_is_no_json_object_is_corrupt(repository: Repository, plain: bytes) -> None:
    """A document is a JSON object and nothing else."""
    put_plain(repository, PATH, Kind.DRILL, plain=plain)

    with pytest.raises(ObjectCorrupt):
        read_json(repository, PATH, Kind.DRILL)


def test_document_reads_back(repository: Repository) -> None:
    """Names of any alphabet survive."""
    document = {"name": "Käse 🧀", "list": [1, None, True], "big": 2**63}

    put_json(repository, PATH, Kind.DRILL, document=document)

    assert read_json(repository, PATH, Kind.DRILL) == document
