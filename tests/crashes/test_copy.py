"""`pgvault copy`, killed after each store operation."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pgvault.repository.refs import decode_refs
from tests.archive import pgvault
from tests.crashpoints import Words, enumerate_crashes
from tests.mirror.vaults import Vault

pytestmark = pytest.mark.endurance


def contents(root: Path) -> dict[str, bytes]:
    """Every object of a copy in a directory; what a crash left unnamed is none."""
    files = [path for path in root.rglob("*") if path.is_file() and not path.name.startswith(".tmp")]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def test_no_root_comes_before_its_objects_and_the_next_run_completes_it(tmp_path: Path) -> None:
    """Whatever is there after a crash is whole, and after another run the copies are the same. No key is there."""
    vault = Vault()
    vault.fill()
    tails = [path for path in vault.primary.objects if ".tail/" in path]

    def place(k: int, name: str) -> Path:
        return tmp_path / str(k) / name

    def command(k: int) -> Words:
        for name, objects in (("primary", vault.primary.objects), ("dr", {})):
            place(k, name).mkdir(parents=True)
            for path, body in objects.items():
                (place(k, name) / path).parent.mkdir(parents=True, exist_ok=True)
                (place(k, name) / path).write_bytes(body)
        urls = "".join(f"    {name}: {{url: '{place(k, name).as_uri()}'}}\n" for name in ("primary", "dr"))
        config = place(k, "pgvault.yaml")
        config.write_text(f"repository:\n  key: file:/nowhere\n  copies:\n{urls}clusters:\n  main: {{dsn: ''}}\n")
        return ["pgvault", "--config", config, "copy"]

    def invariant(k: int) -> None:
        found = contents(place(k, "dr"))
        for path in [path for path in found if path.endswith("/manifest")]:
            refs = path.replace("/manifest", "/refs")
            for needed, digest in decode_refs(found[refs], where=refs).items():
                assert hashlib.sha256(found[needed]).digest() == digest
        again = pgvault("--config", place(k, "pgvault.yaml"), "copy")
        assert again.status == 0, again.errors
        assert contents(place(k, "dr")) == contents(place(k, "primary")) == vault.primary.objects

    assert tails
    assert enumerate_crashes(command, invariant) >= len(vault.primary.objects)
