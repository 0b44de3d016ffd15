from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pgvault.errors import ObjectCorrupt
from pgvault.repository import inventory
from pgvault.repository.inventory import Entry, decode_entry, encode_entry, put_inventory, read_inventory
from pgvault.repository.repository import Repository
from tests.fakes import MemoryStore
from tests.repository.entries import ENTRIES, RELATION
from tests.repository.samples import LABEL, make_manifest


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: type(entry).__name__)
def test_every_entry_is_read_as_it_was_written(entry: Entry) -> None:
    """One line each; names that are no UTF-8 too."""
    line = encode_entry(entry)

    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_entry(line, where="x") == entry


def test_estimates_that_nobody_made_are_no_zeros() -> None:
    """A table that was never analysed has no number of rows."""
    entry = replace(RELATION, rows=None)

    assert decode_entry(encode_entry(entry), where="x") == entry


def test_what_is_not_known_is_passed_over() -> None:
    """Lines of other kinds and fields that a later minor adds."""
    later = {**json.loads(encode_entry(RELATION)), "acl": "x"}

    assert decode_entry(b'{"is": "publication", "name": "x"}', where="x") is None
    assert decode_entry(json.dumps(later).encode(), where="x") == RELATION


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"{}",
        b'{"is": 7}',
        *(
            json.dumps({**json.loads(encode_entry(entry)), name: wrong}).encode()
            for entry in ENTRIES
            for name, wrong in {"database": "5", "oid": 1.0, "settled": 1, "rows": "many", "why": None}.items()
            if name in json.loads(encode_entry(entry))
        ),
    ],
)
def test_malformed_lines_are_refused(line: bytes) -> None:
    """By name of the object, whatever is wrong with them."""
    with pytest.raises(ObjectCorrupt, match="inventory 'x' holds a malformed line"):
        decode_entry(line, where="x")


def test_a_long_inventory_is_cut_into_objects(
    repository: Repository, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is taken from its source and given back as it comes, in order, and never held whole."""
    monkeypatch.setattr(inventory, "OBJECT_BYTES", 1000)
    taken: list[int] = []

    def entries() -> Iterator[Entry]:
        for number in range(100):
            taken.append(len(store.objects))
            yield replace(RELATION, oid=number)

    stored = put_inventory(repository, "main", LABEL, entries())
    found = list(read_inventory(repository, make_manifest(inventory=stored)))

    assert found == [replace(RELATION, oid=number) for number in range(100)]
    assert len(stored) > 10
    assert taken[-1] > taken[0] + 10


def test_a_backup_without_one_has_no_entries(repository: Repository) -> None:
    """As every backup had none before there were inventories."""
    assert list(read_inventory(repository, make_manifest())) == []
