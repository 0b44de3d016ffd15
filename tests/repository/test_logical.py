from __future__ import annotations

import json
from datetime import UTC, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvault.errors import FormatUnsupported, ObjectCorrupt, UsageError
from pgvault.logical.definitions import schema_digest
from pgvault.postgres.lsn import Lsn
from pgvault.repository.logical import LogicalDatabase, LogicalManifest, LogicalType
from pgvault.repository.objects import Stored
from tests.repository.logicals import DEFINITIONS, LOGICAL, SHOP, make_logical

counts = st.integers(0, 2**63)
texts = st.text(max_size=20)
instants = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5.5))])).filter(
    lambda instant: 1 < instant.year < 9999
)
digests = st.binary(min_size=32, max_size=32)
stored_objects = st.builds(Stored, texts, counts, digests, counts)
stored_lists = st.lists(stored_objects, max_size=3).map(tuple)
databases = st.builds(
    LogicalDatabase,
    oid=counts,
    name=texts,
    encoding=texts,
    snapshot_at=instants,
    lsn=st.none() | st.builds(Lsn, st.integers(0, 2**64 - 1)),
    table_count=counts,
    row_count=counts,
    schema_sha256=digests,
)
roots = st.builds(
    LogicalManifest,
    label=texts,
    type=st.sampled_from(LogicalType),
    cluster=texts,
    system_identifier=st.none() | st.integers(0, 2**64 - 1),
    started_at=instants,
    stopped_at=instants,
    version_num=counts,
    dump_version=texts,
    class_name=st.none() | texts,
    databases=st.lists(databases, max_size=3, unique_by=lambda database: database.oid).map(tuple),
    has_globals=st.booleans(),
    has_passwords=st.booleans(),
    total_bytes=counts,
    stored_bytes=counts,
    file_count=counts,
    packs=stored_lists,
    parts=stored_lists,
    refs=stored_objects,
    written_by=texts,
    is_loaded=st.none() | st.booleans(),
)
FIELDS = [name for name in LOGICAL.to_json() if name != "manifest"]
DATABASE_FIELDS = list(LOGICAL.to_json()["databases"][0])
MAY_BE_NULL = ("system_identifier", "class", "loaded")
MAY_LACK = ("loaded",)


def through_json(document: dict[str, Any]) -> LogicalManifest:
    return LogicalManifest.from_json(json.loads(json.dumps(document)), where="x")


def with_database(**changes: object) -> dict[str, Any]:
    document = LOGICAL.to_json()
    document["databases"][0] |= changes
    return document


@given(roots)
def test_root_is_read_as_it_was_written(manifest: LogicalManifest) -> None:
    """Every field survives JSON, 64-bit numbers too."""
    assert through_json(manifest.to_json()) == manifest


def test_fields_of_a_later_minor_are_ignored() -> None:
    """A root may grow, at every level."""
    document = with_database(collation="C") | {"extended": True}
    document["refs"] |= {"crc": "x"}

    assert through_json(document) == LOGICAL


@pytest.mark.parametrize("field", [field for field in FIELDS if field not in MAY_LACK])
def test_root_that_lacks_a_field_is_corrupt(field: str) -> None:
    """Nothing may be missing."""
    document = LOGICAL.to_json()
    del document[field]

    with pytest.raises(ObjectCorrupt):
        through_json(document)


@pytest.mark.parametrize("field", DATABASE_FIELDS)
def test_database_that_lacks_a_field_is_corrupt(field: str) -> None:
    """Nor of a database."""
    document = LOGICAL.to_json()
    del document["databases"][0][field]

    with pytest.raises(ObjectCorrupt):
        through_json(document)


@pytest.mark.parametrize("value", [None, True, 1.5, -1, [], {}, [7], {"x": "y"}])
@pytest.mark.parametrize("field", FIELDS)
def test_root_with_a_field_of_another_type_is_corrupt(field: str, value: object) -> None:
    """No field may be anything else than it is; only what the role may not ask is null, and only lists are empty."""
    if (
        (value is None and field in MAY_BE_NULL)
        or (value is True and field.startswith(("has_", "loaded")))
        or (value == [] and field in ("databases", "packs", "parts"))
    ):
        value = 0
    with pytest.raises(ObjectCorrupt):
        through_json(LOGICAL.to_json() | {field: value})


@pytest.mark.parametrize("value", [None, True, 1.5, -1, [], {}, "", {"x": "y"}])
@pytest.mark.parametrize("field", DATABASE_FIELDS)
def test_database_with_a_field_of_another_type_is_corrupt(field: str, value: object) -> None:
    """A database may have an empty name for all we know, and no LSN."""
    if (value is None and field == "lsn") or (value == "" and field in ("name", "encoding")):
        value = 0
    with pytest.raises(ObjectCorrupt):
        through_json(with_database(**{field: value}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("type", "full"),
        ("type", "LOGICAL"),
        ("system_identifier", 7501234567890123456),
        ("system_identifier", "-1"),
        ("started_at", "2026-01-15T10:30:00"),
        ("stopped_at", "yesterday"),
        ("has_globals", 1),
        ("has_passwords", "true"),
        ("packs", [{"path": "x", "length": 1, "sha256": "zz", "frames": 1}]),
        ("parts", [{"path": "x", "length": 1, "sha256": "00", "frames": 1}]),
        ("databases", [LOGICAL.to_json()["databases"][0]] * 2),
    ],
)
def test_malformed_root_is_corrupt(field: str, value: object) -> None:
    """Types, instants, digests and numbers are read strictly, and no two databases share their files."""
    with pytest.raises(ObjectCorrupt):
        through_json(LOGICAL.to_json() | {field: value})


@pytest.mark.parametrize(("field", "value"), [("lsn", "16"), ("schema_sha256", "00" * 31), ("oid", "16384")])
def test_malformed_database_is_corrupt(field: str, value: object) -> None:
    """Likewise."""
    with pytest.raises(ObjectCorrupt):
        through_json(with_database(**{field: value}))


@pytest.mark.parametrize("version", [None, 0, 2, "1"])
def test_root_of_another_version_says_so(version: object) -> None:
    """A newer pgvault is named as the way out."""
    with pytest.raises(FormatUnsupported) as caught:
        through_json(LOGICAL.to_json() | {"manifest": version})
    assert caught.value.hint


def test_root_is_that_of_format_1() -> None:
    """Pinned: the fields of a root and of a database, and how they are written."""
    document = LOGICAL.to_json()

    assert document["manifest"] == 1
    assert document["type"] == "logical"
    assert document["system_identifier"] == "7501234567890123456"
    assert list(document) == [
        *("manifest", "label", "type", "cluster", "system_identifier", "started_at", "stopped_at"),
        *("version_num", "dump_version", "class", "databases", "has_globals", "has_passwords"),
        *("total_bytes", "stored_bytes", "file_count", "packs", "parts", "refs", "written_by"),
        "loaded",
    ]
    assert document["databases"] == [
        {
            "oid": 16384,
            "name": "shop – Käse",
            "encoding": "UTF8",
            "snapshot_at": "2026-01-15T12:00:01+00:00",
            "lsn": "16/B3000120",
            "table_count": 2,
            "row_count": 40,
            "schema_sha256": schema_digest(DEFINITIONS).hex(),
        }
    ]


def test_what_a_role_may_not_ask_is_null() -> None:
    """Managed servers tell neither."""
    manifest = make_logical(system_identifier=None, class_name="critical")
    document = manifest.to_json()

    assert document["system_identifier"] is None
    assert document["class"] == "critical"
    assert through_json(document) == manifest


def test_files_of_a_database_are_named_by_its_oid() -> None:
    """Names of databases may hold anything; oids are plain."""
    assert (SHOP.directory, SHOP.tables_path, SHOP.list_path, SHOP.sql_path) == (
        b"16384",
        b"16384.tables",
        b"16384.list",
        b"16384.sql",
    )


def test_a_database_is_found_by_its_name() -> None:
    """Or the error says which there are."""
    assert LOGICAL.database("shop – Käse") == SHOP
    with pytest.raises(UsageError) as caught:
        LOGICAL.database("shop")
    assert caught.value.hint == "It has: shop – Käse"
    assert (LOGICAL.postgres_major, LOGICAL.maps) == (18, ())
