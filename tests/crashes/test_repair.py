"""`pgvault verify --repair`, killed after each store operation."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgvault.repository import layout
from pgvault.repository.systems import System, record_system
from tests.archive import AT, SYSTEM, pgvault
from tests.crashpoints import Words, enumerate_crashes
from tests.verify.vault import LABELS, LAST, Vault, segment_of, wal_key

pytestmark = pytest.mark.endurance

KEY = bytes(32)
COPIES = ("primary", "dr")


def test_repair_never_makes_it_worse_and_the_next_one_completes_it(tmp_path: Path) -> None:
    """After each crash all that is listed can be read from the copies together, and no damaged byte is lost."""
    (tmp_path / "files").mkdir()
    vault = Vault(tmp_path / "files")
    record_system(vault.repository, "main", System(SYSTEM, 18), follows=None, now=AT)
    stored = {number: vault.put_segment(segment_of(number)) for number in range(5, LAST + 1)}
    for label, number in zip(LABELS, (5, 7), strict=True):
        vault.put_backup(label, segment=segment_of(number), wal=(stored[number],))
    whole = dict(vault.objects)
    cut, flipped = layout.pack("main", LABELS[0], 0), wal_key(segment_of(6).name)
    absent, root = layout.part("main", LABELS[1], 0), layout.manifest("main", LABELS[1])
    damaged = {
        **whole,
        cut: whole[cut][:-7],
        flipped: whole[flipped][:300] + bytes([whole[flipped][300] ^ 1]) + whole[flipped][301:],
    }
    del damaged[absent], damaged[root]

    def command(k: int) -> Words:
        for name, objects in zip(COPIES, (damaged, whole), strict=True):
            for path, body in objects.items():
                (tmp_path / str(k) / name / path).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / str(k) / name / path).write_bytes(body)
        (tmp_path / str(k) / "key").write_text(KEY.hex())
        urls = "".join(f"    {name}: {{url: '{(tmp_path / str(k) / name).as_uri()}'}}\n" for name in COPIES)
        config_of(k).write_text(
            f"repository:\n  key: file:{tmp_path / str(k) / 'key'}\n  copies:\n{urls}clusters:\n  main: {{dsn: ''}}\n"
        )
        return ["pgvault", "--config", config_of(k), "verify", "--repair"]

    def config_of(k: int) -> Path:
        return tmp_path / str(k) / "pgvault.yaml"

    def held(k: int, path: str) -> bytes | None:
        file = tmp_path / str(k) / "primary" / path
        return file.read_bytes() if file.exists() else None

    def invariant(k: int) -> None:
        kept = {
            path.read_bytes() for path in (tmp_path / str(k) / "primary" / "quarantine").rglob("*") if path.is_file()
        }
        for path, body in whole.items():
            assert held(k, path) in (body, damaged.get(path)), path
        for path in (cut, flipped):
            assert held(k, path) == damaged[path] or damaged[path] in kept, path
        assert held(k, root) is None or held(k, absent) == whole[absent]
        again = pgvault("--config", config_of(k), "verify", "--repair")
        assert again.status == 0, again
        assert {path: held(k, path) for path in whole} == whole

    assert enumerate_crashes(command, invariant) >= 8
