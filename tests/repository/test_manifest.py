from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvault.errors import FormatUnsupported, ObjectCorrupt
from pgvault.postgres.lsn import Lsn
from pgvault.repository.manifest import Manifest, Owner, PageErrors, PostgresFacts
from pgvault.repository.objects import Stored
from tests.repository.samples import SAMPLE, make_manifest

counts = st.integers(0, 2**63)
texts = st.text(max_size=20)
lsns = st.builds(Lsn, st.integers(0, 2**64 - 1))
instants = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5.5))])).filter(
    lambda instant: 1 < instant.year < 9999
)
stored_objects = st.builds(Stored, texts, counts, st.binary(min_size=32, max_size=32), counts)
tables = st.lists(stored_objects, max_size=3).map(tuple)
roots = st.builds(
    Manifest,
    label=texts,
    type=texts,
    cluster=texts,
    system_identifier=st.integers(0, 2**64 - 1),
    timeline=st.integers(1, 2**32 - 1),
    start_lsn=lsns,
    checkpoint_lsn=lsns,
    stop_lsn=lsns,
    started_at=instants,
    stopped_at=instants,
    time_zone=texts,
    log_time_zone=texts,
    postgres=st.builds(
        PostgresFacts,
        *[counts] * 7,
        st.booleans(),
        texts,
        st.dictionaries(texts, texts, max_size=3),
    ),
    owner=st.builds(Owner, counts, counts, st.none() | texts, st.none() | texts),
    databases=st.dictionaries(counts, texts, max_size=3),
    tablespaces=st.dictionaries(counts, texts, max_size=3),
    backup_label=st.binary(max_size=50),
    tablespace_map=st.binary(max_size=50),
    total_bytes=counts,
    stored_bytes=counts,
    file_count=counts,
    page_errors=st.builds(PageErrors, counts, st.lists(texts, max_size=3).map(tuple)),
    packs=tables,
    parts=tables,
    maps=tables,
    wal=tables,
    refs=stored_objects,
    written_by=texts,
    inventory=tables,
)


def through_json(document: dict[str, Any]) -> Manifest:
    return Manifest.from_json(json.loads(json.dumps(document)), where="x")


@given(roots)
def test_root_is_read_as_it_was_written(manifest: Manifest) -> None:
    """Every field survives JSON, 64-bit numbers too."""
    assert through_json(manifest.to_json()) == manifest


def test_fields_of_a_later_minor_are_ignored() -> None:
    """A root may grow, at every level."""
    document = SAMPLE.to_json() | {"extended": True}
    document["postgres"] |= {"edition": "x"}
    document["owner"] |= {"acl": "x"}
    document["refs"] |= {"crc": "x"}

    assert through_json(document) == SAMPLE


@pytest.mark.parametrize("field", [name for name in SAMPLE.to_json() if name != "manifest"])
def test_root_that_lacks_a_field_is_corrupt(field: str) -> None:
    """Nothing may be missing."""
    document = SAMPLE.to_json()
    del document[field]

    with pytest.raises(ObjectCorrupt):
        through_json(document)


@pytest.mark.parametrize("value", [None, True, 1.5, [], {}, {"x": "y"}])
@pytest.mark.parametrize("field", [name for name in SAMPLE.to_json() if name != "manifest"])
def test_root_with_a_field_of_another_type_is_corrupt(field: str, value: object) -> None:
    """No field may be anything else than it is; empty tables, and no databases, are fine."""
    if field in ("packs", "parts", "maps", "wal", "databases", "tablespaces") and value in ([], {}):
        value = 0
    with pytest.raises(ObjectCorrupt):
        through_json(SAMPLE.to_json() | {field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("start_lsn", "16"),
        ("stop_lsn", "100000000/0"),
        ("started_at", "2026-01-15T10:30:00"),
        ("stopped_at", "yesterday"),
        ("databases", {"x": "postgres"}),
        ("databases", {"5": None}),
        ("tablespaces", {"5": 7}),
        ("backup_label", "0"),
        ("packs", [{}]),
        ("packs", [{"path": "x", "length": 1, "sha256": "zz", "frames": 1}]),
        ("packs", [{"path": "x", "length": 1, "sha256": "00", "frames": 1}]),
        ("postgres", {"major": 18}),
        ("owner", {"uid": 0}),
        ("page_errors", {"count": 1}),
    ],
)
def test_malformed_root_is_corrupt(field: str, value: object) -> None:
    """LSNs, instants, digests and numbers are read strictly."""
    with pytest.raises(ObjectCorrupt):
        through_json(SAMPLE.to_json() | {field: value})


@pytest.mark.parametrize("version", [None, 0, 2, "1"])
def test_root_of_another_version_says_so(version: object) -> None:
    """A newer pgvault is named as the way out."""
    with pytest.raises(FormatUnsupported) as caught:
        through_json(SAMPLE.to_json() | {"manifest": version})
    assert caught.value.hint


def test_root_is_that_of_format_1() -> None:
    """Pinned: the fields of a root, and how numbers beyond 2**53 and instants are written."""
    document = SAMPLE.to_json()

    assert document["manifest"] == 1
    assert document["system_identifier"] == "7501234567890123456"
    assert document["stop_lsn"] == "16/B3000120"
    assert document["started_at"] == "2026-01-15T10:30:00.123456+00:00"
    assert document["databases"] == {"5": "postgres", "16384": "shop – Käse"}
    assert document["packs"][0] == {
        "path": "clusters/main/backups/20260115T103000Z-f7c2/packs/00000000",
        "length": 1000,
        "sha256": "00" * 32,
        "frames": 3,
    }
    assert list(document) == [
        *("manifest", "label", "type", "cluster", "system_identifier", "timeline"),
        *("start_lsn", "checkpoint_lsn", "stop_lsn", "started_at", "stopped_at", "time_zone", "log_time_zone"),
        *("postgres", "owner", "databases", "tablespaces", "backup_label", "tablespace_map"),
        *("total_bytes", "stored_bytes", "file_count", "page_errors"),
        *("packs", "parts", "maps", "wal", "refs", "written_by"),
    ]


def test_instants_are_written_in_utc() -> None:
    """Whatever zone a caller's instant has."""
    east = timezone(timedelta(hours=2))
    manifest = make_manifest(started_at=datetime(2026, 7, 1, 2, tzinfo=east))

    assert manifest.to_json()["started_at"] == "2026-07-01T00:00:00+00:00"


def test_a_root_without_an_inventory_is_as_it_was_before_there_were_any() -> None:
    """Older backups have none, and newer ones where the server did not say."""
    assert "inventory" not in SAMPLE.to_json()
    assert through_json(SAMPLE.to_json()).inventory == ()


def test_an_inventory_that_is_no_list_of_objects_is_corrupt() -> None:
    """It is read as strictly as all else."""
    wrongs: tuple[object, ...] = ({}, "x", [7], None)
    for wrong in wrongs:
        with pytest.raises(ObjectCorrupt):
            through_json(SAMPLE.to_json() | {"inventory": wrong})
