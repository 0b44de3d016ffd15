"""FORMAT.md against the code: what the page shows opens, and what the code stores is on the page."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from pathlib import Path

import pytest

import pgvault.repository
from pgvault.pipeline.header import HEADER, TAIL, Kind
from pgvault.pipeline.seal import FRAME_BYTES, FRAME_HEAD, Address, RepositoryKey, content_hmac, open_frames
from pgvault.postgres import fingerprint as fingerprinting
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.walname import WalSegment
from pgvault.repository import layout
from pgvault.repository.drilled import Drilled, Outcome, put_drilled
from pgvault.repository.filelist import Extent, FileKind, FileRecord
from pgvault.repository.gaps import GapRecord, put_gap
from pgvault.repository.holds import Hold, put_hold, release_hold
from pgvault.repository.inventory import encode_entry
from pgvault.repository.keydocument import make_key_document
from pgvault.repository.keys import Credential, document_hmac
from pgvault.repository.leaseentry import Claim
from pgvault.repository.leases import acquire
from pgvault.repository.logical import GLOBALS, LogicalType
from pgvault.repository.objects import read_json
from pgvault.repository.repository import Repository
from pgvault.repository.systems import System, require_system
from pgvault.repository.tables import TableKind, encode_tables
from pgvault.repository.tails import TailInfo
from pgvault.repository.tombstones import Order, put_tombstone
from pgvault.repository.verified import Verified, put_verified
from pgvault.repository.watermark import StoredWatermark, put_watermark
from tests.fakes import MemoryStore
from tests.repository.entries import ENTRIES
from tests.repository.logicals import LOGICAL, RECORDS, SHOP
from tests.repository.lookup3 import SEEDS, fingerprint
from tests.repository.samples import SAMPLE
from tests.repository.test_measures import MEASURES
from tests.repository.test_walobjects import describe

PAGE = (Path(pgvault.repository.__file__).parent / "FORMAT.md").read_text()
KEY = RepositoryKey(1, bytes(range(32)))
ID = b"repository id 16"


def section(number: int) -> str:
    return re.split(r"^## ", PAGE, flags=re.M)[number]


def test_test_object_opens() -> None:
    """The object on the page is what a reader of ten years later will try first."""
    digits = "".join(re.findall(r"^    ([0-9a-f]{40,100})$", section(15), re.M))
    body = bytes.fromhex(digits)
    place = Address(ID, "clusters/main/systems/first", Kind.SYSTEM)

    assert list(open_frames(body, place, keys={1: KEY})) == [b"what was written in 2026", b"opens in 2036"]
    for value in (KEY.secret, ID, content_hmac(KEY, ID, hashlib.sha256(b"segment").digest())):
        assert value.hex() in section(15)


def test_sizes_are_those_of_the_page() -> None:
    """Numbers that the page gives."""
    assert (HEADER.size, FRAME_HEAD.size, TAIL.size + 32, FRAME_BYTES) == (128, 12, 60, 1_048_576)
    assert "header[128]" in section(3)
    assert "trailer[4·F + 60]" in section(3)
    assert "1,048,576" in section(3)
    assert ", ".join(f"{kind.value} {kind.name.lower()}" for kind in Kind) in " ".join(section(3).split())


def test_every_stored_field_is_on_the_page(repository: Repository, store: MemoryStore) -> None:
    """No field is stored that the page does not explain, section by section."""
    root = SAMPLE.to_json()
    record = json.loads(FileRecord(b"x", FileKind.FILE, 0, 0, 1, 0, (Extent(0, 1, 0, 0, 0, 0),), (0, 0)).encode())
    entry = json.loads(make_key_document(ID, Credential("passphrase", b"words"))[0])["keys"][0]
    slot = entry["slots"][0]
    require_system(repository, "main", System(7, 18), now=SAMPLE.started_at)
    put_watermark(repository, "main", StoredWatermark(7, SAMPLE.started_at, Lsn(7), 1, is_idle=True, source="check"))
    (mark,) = (path for path in store.objects if "/watermarks/" in path)
    put_gap(repository, "main", GapRecord(7, 1, Lsn(7), Lsn(9), "x", SAMPLE.started_at))
    (gap,) = (path for path in store.objects if "/gaps/" in path)
    put_verified(repository, "main", Verified("x", "primary", SAMPLE.started_at, 7, 70, "pgvault"))
    at = SAMPLE.started_at
    put_drilled(repository, "main", Drilled("x", "y", at, "latest", at, Lsn(7), 1, Outcome.PASSED, ("dr",), 7, 7))
    order = Order(SAMPLE.started_at, "ann@db1", "")
    put_tombstone(repository, "main", "x", order)
    put_hold(repository, "main", Hold("y", "x", None, None, None, order))
    release_hold(repository, "main", "y", order)
    tail = TailInfo(WalSegment(1, 7), 8, 24, 7, bytes(32), SAMPLE.started_at)
    logical = LOGICAL.to_json()
    measures = MEASURES.to_json()
    acquire(repository, "backup-main", Claim(), command="backup")
    lease = json.loads(store.objects[layout.lease("backup-main", 0)])
    fields = {
        5: [*json.loads(store.objects["keys/00000001"]), *entry, *slot, *slot["scrypt"]],
        6: list(json.loads(store.objects["pgvault.json"])),
        7: [*root, *root["postgres"], *root["owner"], *root["page_errors"], *root["refs"]],
        8: [*record, "path_hex", "target", "target_hex"],
        12: [
            *read_json(repository, mark, Kind.WATERMARK),
            *read_json(repository, layout.first_system("main"), Kind.SYSTEM),
            *read_json(repository, gap, Kind.GAP),
        ],
        17: [*logical, *logical["databases"][0], *json.loads(encode_tables(RECORDS).splitlines()[0])],
        20: [name for entry in ENTRIES for name in json.loads(encode_entry(entry))],
        18: [
            *read_json(repository, layout.numbered(layout.verified("main", "x", "primary"), 0), Kind.VERIFIED),
            *read_json(repository, layout.numbered(layout.drilled("main", "x"), 0), Kind.DRILLED),
            *read_json(repository, layout.tombstone("main", "x", 0), Kind.TOMBSTONE),
            *read_json(repository, layout.hold("main", "y", 0), Kind.HOLD),
            *read_json(repository, layout.hold("main", "y", 1), Kind.HOLD),
        ],
        23: [
            *measures,
            *measures["values"],
            *measures["before"][0]["values"],
            *measures["suspects"][0],
            *measures["before"][0],
        ],
        11: [*json.loads(describe(b"x").encode()), *json.loads(tail.encode())],
        19: [*lease, *lease["holder"]],
    }

    for number, names in fields.items():
        assert [name for name in names if f'"{name}"' not in section(number)] == []


@pytest.mark.parametrize(
    "name",
    [
        layout.IDENTITY,
        layout.system("<cluster>", 0).replace("/0", "/<system identifier>"),
        layout.first_system("<cluster>"),
        f"{layout.watermarks('<cluster>')}/<label>",
        layout.manifest("<cluster>", "<label>"),
        layout.refs("<cluster>", "<label>"),
        layout.part("<cluster>", "<label>", 0).replace("00000000", "<n>"),
        layout.block_map("<cluster>", "<label>", 0).replace("00000000", "<n>"),
        layout.pack("<cluster>", "<label>", 0).replace("00000000", "<n>"),
        layout.inventory("<cluster>", "<label>", 0).replace("00000000", "<n>"),
        f"{layout.verified('<cluster>', '<label>', '<copy>')}/<n>",
        f"{layout.drilled('<cluster>', '<label>')}/<n>",
        layout.tombstone("<cluster>", "<label>", 0).replace("00000000", "<n>"),
        layout.hold("<cluster>", "<label>", 0).replace("00000000", "<n>"),
        layout.lease("<name>", 0).replace("00000000", "<n>"),
        layout.key_document(0).replace("00000000", "<n>"),
        f"{layout.drills('<cluster>')}/<label>",
        f"{layout.checks('<cluster>')}/<label>",
        f"{layout.gaps('<cluster>')}/<label>",
    ],
)
def test_every_name_is_on_the_page(name: str) -> None:
    """Names are computed in layout.py and explained on the page."""
    assert re.search(rf"^    {re.escape(name)} ", section(2), re.M)


def test_canonical_json_is_as_the_page_says() -> None:
    """The text under a document's HMAC can be made without Python."""
    document = {"b": [1, None, True], "a": 'ü🧀"\\\n\x01/', "hmac": "left out", "ä": {}}
    text = rb'{"a":"\u00fc\ud83e\uddc0\"\\\n\u0001/","b":[1,null,true],"\u00e4":{}}'
    secret = KEY.derive("pgvault 1 documents", salt=ID)

    assert document_hmac(document, KEY, ID) == hmac.digest(secret, text, "sha256").hex()


def test_fingerprint_on_the_page_is_that_of_its_rows() -> None:
    """By the page's own words, without a server: hash, seeds, sum and digits."""
    rows = re.findall(r'"(\([^"]*\))"', re.search(r"^    texts r .*$", section(17), re.M)[0])  # type: ignore[index]

    assert rows == ["(1,one)", "(2,)"]
    assert fingerprint(row.encode() for row in rows) in section(17)
    assert f"S({SEEDS[0]}) | S({SEEDS[1]})" in section(17)
    assert SEEDS == fingerprinting.SEEDS


def test_settings_that_a_fingerprint_rests_on_are_on_the_page() -> None:
    """Another setting, another text, another fingerprint; the others are limits and ways."""
    ways = ("row_security", "jit", "default_transaction", "max_parallel", "statement_timeout", "idle_in_transaction")
    page = " ".join(section(17).split()).replace('"', "")
    decisive = {name: value for name, value in fingerprinting.SETTINGS.items() if not name.startswith(ways)}

    assert len(decisive) == 9
    assert [name for name, value in decisive.items() if f"{name} {value}" not in page] == []


def test_files_of_a_logical_backup_are_on_the_page() -> None:
    """Named by the database's oid."""
    for path in (GLOBALS, SHOP.directory + b"/toc.dat", SHOP.list_path, SHOP.tables_path, SHOP.sql_path):
        name = path.decode().replace(str(SHOP.oid), "<oid>")
        assert re.search(rf"^    {re.escape(name)} ", section(17), re.M), name
    assert all(f'"{kind}"' in section(17) for kind in (*TableKind, *LogicalType))


def test_page_is_readable_in_a_terminal() -> None:
    """Lines end within 120 characters."""
    assert max(map(len, PAGE.splitlines())) <= 120
