from __future__ import annotations

import ast
import base64
import hashlib
import runpy
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pgvault.config import encode_key_lines
from pgvault.pipeline.header import MAGIC, Kind, ObjectHeader
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.postgres.walname import WalSegment
from pgvault.repository import layout
from pgvault.repository.catalog import abort_label, commit_manifest
from pgvault.repository.copies import Copy
from pgvault.repository.gaps import GapRecord, put_gap
from pgvault.repository.keys import Credential
from pgvault.repository.objects import put_plain, read_plain
from pgvault.repository.refs import put_refs
from pgvault.repository.repository import Repository, init_repository
from pgvault.repository.systems import System, require_system
from pgvault.repository.tails import TailInfo, put_tail
from pgvault.repository.walobjects import WalInfo, put_wal
from pgvault.repository.watermark import StoredWatermark, put_watermark
from pgvault.stores.file import FileStore
from tests.repository.logicals import files_of, make_logical, put_logical
from tests.repository.samples import SAMPLE

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "unseal.py"
NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
SYSTEM = SAMPLE.system_identifier
SEGMENT = b"\x16\xd1" + b"record " * 40_000 + bytes(2 * MIB)
SEGMENT_NAME = "0000000300000016000000B3"


def fill(root: Path, credential: Credential) -> Repository:
    """Make a repository with an object of every kind."""
    repository, _ = init_repository([Copy("primary", FileStore(root))], credential, now=NOW)
    require_system(repository, "main", System(SYSTEM, 18), now=NOW)
    packs = [
        put_plain(repository, layout.pack("main", SAMPLE.label, number), Kind.PACK, plain=plain)
        for number, plain in enumerate([b"", b"page" * 2048, bytes(3 * MIB + 1), bytes(range(256)) * 5000])
    ]
    part = put_plain(repository, layout.part("main", SAMPLE.label, 0), Kind.PART, plain=b"{}\n" * 9)
    block_map = put_plain(repository, layout.block_map("main", SAMPLE.label, 0), Kind.MAP, plain=bytes(20))
    refs = put_refs(repository, layout.refs("main", SAMPLE.label), [*packs, part, block_map])
    commit_manifest(repository, replace(SAMPLE, packs=tuple(packs), parts=(part,), maps=(block_map,), refs=refs))
    abort_label(repository, "main", "20260115T103000Z-0000", reason="killed")
    put_wal(repository, "main", describe(SEGMENT, SEGMENT_NAME), content=SEGMENT)
    put_wal(repository, "main", describe(b"1\t0/1\tx\n", "00000003.history"), content=b"1\t0/1\tx\n")
    put_watermark(repository, "main", StoredWatermark(SYSTEM, NOW, Lsn(7), 3, is_idle=True, source="backup"))
    put_plain(repository, f"{layout.drills('main')}/{SAMPLE.label}", Kind.DRILL, plain=b'{"drill": 1}')
    segment = WalSegment(3, 9, MIB)
    tail = TailInfo(segment, 8, 24, SYSTEM, hashlib.sha256(b"sixteen bytes of").digest(), NOW)
    put_tail(repository, "main", tail, content=b"sixteen bytes of")
    put_gap(repository, "main", GapRecord(SYSTEM, 3, Lsn(7), Lsn(9), "slot lost", NOW))
    marks = (Kind.TOMBSTONE, Kind.VERIFIED, Kind.HOLD, Kind.INVENTORY, Kind.DRILLED, Kind.CHECKS)
    for kind in (*marks, Kind.AUDIT, Kind.NOTICE):
        put_plain(repository, f"{layout.backup('main', SAMPLE.label)}/{kind.name.lower()}", kind, plain=b"{}")
    return repository


def describe(content: bytes, name: str) -> WalInfo:
    return WalInfo(name, len(content), hashlib.sha256(content).digest(), SYSTEM, 3, None, NOW, NOW)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("unseal") / "repository"


@pytest.fixture(scope="module")
def repository(root: Path) -> Repository:
    return fill(root, Credential("raw", bytes(range(32))))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(bytes(range(32)).hex() + "\n")
    return path


def unseal(*arguments: str | Path) -> bytes:
    """Run the program as a stranger would: isolated from this checkout. Raises CalledProcessError."""
    argv = [sys.executable, "-I", str(SCRIPT), *map(str, arguments)]
    return subprocess.run(argv, check=True, capture_output=True, timeout=30).stdout


def complaint(*arguments: str | Path) -> str:
    """Run the program, which must fail without a byte of output; return its one line."""
    with pytest.raises(subprocess.CalledProcessError) as caught:
        unseal(*arguments)
    assert caught.value.stdout == b""
    said: str = caught.value.stderr.decode()
    assert "Traceback" not in said
    return said


def test_every_object_is_decoded_as_pgvault_reads_it(repository: Repository, root: Path, key: Path) -> None:
    """Two programs that share no code agree on every byte of every object of every kind."""
    kinds = set()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        body = path.read_bytes()
        name = path.relative_to(root).as_posix()
        if not body.startswith(MAGIC):
            assert "clear text" in complaint("--key", key, "--repository", root, name)
            continue
        kind = ObjectHeader.decode(body, where=name).kind
        kinds.add(kind)
        assert unseal("--key", key, "--repository", root, name) == read_plain(repository, name, kind)
        said = unseal("--check", "--repository", root, name).decode().split()
        assert said[0] == kind.name.lower()
        assert said[-1] == f"sha256={hashlib.sha256(body).hexdigest()}"
    assert kinds == set(Kind)


def test_wal_comes_out_as_postgresql_wrote_it(repository: Repository, root: Path, key: Path) -> None:
    """Without the info frame, so that it can be put into pg_wal by hand."""
    name = layout.wal_file("main", SYSTEM, SEGMENT_NAME)

    assert unseal("--key", key, "--repository", root, "--wal", name) == SEGMENT


def test_files_of_a_logical_backup_come_out(repository: Repository, root: Path, key: Path, tmp_path: Path) -> None:
    """Byte for byte, as pg_dump wrote them, for pg_restore; holes and odd sizes among them."""
    files = files_of(make_logical()) | {b"16384/3456.dat": bytes(range(256)) * 5000, b"16384.list": b""}
    manifest = put_logical(repository, files=files)
    name = layout.manifest("main", manifest.label)
    target = tmp_path / "files"

    unseal("--key", key, "--repository", root, "--files", target, name)

    found = {path.relative_to(target).as_posix().encode(): path for path in target.rglob("*") if path.is_file()}
    assert {path: file.read_bytes() for path, file in found.items()} == files
    assert all(file.stat().st_mode & 0o077 == 0 or file.parent.stat().st_mode & 0o077 == 0 for file in found.values())
    assert "File exists" in complaint("--key", key, "--repository", root, "--files", target, name)
    physical = layout.manifest("main", SAMPLE.label)
    assert "not the root of a logical backup" in complaint(
        "--key", key, "--repository", root, "--files", tmp_path / "x", physical
    )


def test_a_damaged_logical_backup_does_not_come_out(
    repository: Repository, root: Path, key: Path, tmp_path: Path
) -> None:
    """A pack that was exchanged for another is refused by the digest in the root; a missing one, too."""
    manifest = put_logical(repository, "20260115T120000Z-dead")
    name = layout.manifest("main", manifest.label)
    pack = root / manifest.packs[2].path
    whole = pack.read_bytes()
    pack.chmod(0o600)
    pack.write_bytes((root / manifest.packs[3].path).read_bytes())
    try:
        said = complaint("--key", key, "--repository", root, "--files", tmp_path / "a", name)
        assert "is not the one that the backup was made with" in said
        pack.unlink()
        assert "No such file" in complaint("--key", key, "--repository", root, "--files", tmp_path / "b", name)
    finally:
        pack.write_bytes(whole)


def test_passphrase_opens_its_slot(tmp_path: Path) -> None:
    """The other kind of slot, and a line end behind the words."""
    words = tmp_path / "words"
    words.write_text("correct horse\n")
    made, _ = init_repository(
        [Copy("primary", FileStore(tmp_path / "r"))], Credential("passphrase", b"correct horse"), now=NOW
    )
    put_plain(made, "clusters/main/drills/x", Kind.DRILL, plain=b"report")

    place = ("--repository", tmp_path / "r", "clusters/main/drills/x")
    assert unseal("--passphrase", words, *place) == b"report"
    words.write_text("wrong horse\n")
    assert "opens no key slot" in complaint("--passphrase", words, *place)


def test_sheet_opens_as_its_key_does_and_so_does_what_kms_decrypts(
    repository: Repository, root: Path, tmp_path: Path
) -> None:
    """What lies in the safe, as it was exported; and the 32 bytes themselves as `aws kms decrypt` prints them."""
    place = ("--repository", root, layout.first_system("main"))
    sheet, plain = tmp_path / "sheet", tmp_path / "plain"
    sheet.write_text(
        "\n".join(["pgvault escrow sheet", "", *encode_key_lines(repository.id, bytes(range(32))), "Füße"])
    )
    plain.write_text(base64.b64encode(repository.keys.active.secret).decode() + "\n")

    assert unseal("--key", sheet, *place) == unseal("--repository-key", plain, *place)
    sheet.write_text(sheet.read_text().replace("key 2/4", "key 2"))
    assert "does not hold 32 bytes" in complaint("--key", sheet, *place)


@pytest.mark.parametrize("at", [9, 10, 11, 15, 20, 50, 70, 100, 130, 140, 300, -100, -61, -50, -40, -33, -1])
def test_damage_is_refused(repository: Repository, root: Path, key: Path, at: int) -> None:
    """A changed byte anywhere gives no plaintext, with the key or without, also under a SHA-256 made right again."""
    program = runpy.run_path(str(SCRIPT))
    name = layout.pack("main", SAMPLE.label, 3)
    opened = program["open_keys"](root, key, None)
    body = bytearray((root / name).read_bytes())
    program["unseal"](bytes(body), name, *opened)
    body[at] ^= 4

    with pytest.raises(program["NotUnsealed"]):
        program["check"](bytes(body))
    with pytest.raises(program["NotUnsealed"]):
        program["unseal"](bytes(body), name, *opened)
    if at != -1:
        with pytest.raises(program["NotUnsealed"]):
            program["unseal"](bytes(body[:-32]) + hashlib.sha256(body[:-32]).digest(), name, *opened)


def test_damaged_object_gives_one_line(repository: Repository, root: Path, key: Path) -> None:
    """No traceback, and not a byte of the frames before the damage."""
    name = layout.pack("main", SAMPLE.label, 7)
    (root / name).write_bytes((root / layout.pack("main", SAMPLE.label, 2)).read_bytes()[:-5])
    try:
        assert complaint("--key", key, "--repository", root, name).count("\n") == 1
        assert complaint("--check", "--repository", root, name).count("\n") == 1
    finally:
        (root / name).unlink()
    assert "No such file" in complaint("--check", "--repository", root, name)


def test_moved_object_and_wrong_key_are_refused(repository: Repository, root: Path, key: Path, tmp_path: Path) -> None:
    """An object opens under its own name and with its own key only."""
    name = layout.pack("main", SAMPLE.label, 1)
    moved = layout.pack("main", SAMPLE.label, 8)
    (root / moved).write_bytes((root / name).read_bytes())
    try:
        assert "does not open" in complaint("--key", key, "--repository", root, moved)
    finally:
        (root / moved).unlink()
    key.write_text("00" * 32)
    assert "opens no key slot" in complaint("--key", key, "--repository", root, name)
    key.write_text("00" * 31)
    assert "32 bytes" in complaint("--key", key, "--repository", root, name)


def test_it_stands_alone() -> None:
    """Nothing of pgvault, and nothing but the standard library, cryptography and zstandard, is imported."""
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(SCRIPT.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }

    assert imported - set(sys.stdlib_module_names) == {"cryptography", "zstandard"}
