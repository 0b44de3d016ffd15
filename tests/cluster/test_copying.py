"""A backup and its WAL in several copies, each of which is enough by itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.archive import pgvault
from tests.cli.here import pgvault_json
from tests.cluster.places import make_place
from tests.servers import NEWEST, ServerFactory

pytestmark = pytest.mark.endurance


def test_each_copy_is_enough_by_itself(server: ServerFactory, tmp_path: Path) -> None:
    """Sync for backups, async, and one that is gone: the backup is whole in the two that are there when it ends."""
    place = make_place(server, tmp_path, NEWEST)
    config = place.archive.config
    copies = {"dr": "backups: sync", "nas": "mode: async", "gone": "mode: async"}
    for name in ("dr", "nas"):
        (tmp_path / name).mkdir()
    lines = "".join(f"    {name}: {{url: 'file://{tmp_path}/{name}', {mode}}}\n" for name, mode in copies.items())
    text = config.read_text().replace("clusters:\n", f"{lines}clusters:\n", 1)
    config.write_text(text.replace("dsn: ''", f"dsn: {json.dumps(place.server.dsn)}, archive_wait: 30s"))
    begun = pgvault("--config", config, "copy", "--copy", "dr", "--copy", "nas")
    assert begun.status == 0, begun.errors
    place.server.sql("CREATE TABLE t AS SELECT 1 AS n")

    taken = pgvault("--config", config, "backup")

    assert taken.status == 0, taken.errors
    assert "copy 'gone' is not up to date" in taken.errors
    listed = pgvault_json("--config", config, "list")
    (label,) = [backup["label"] for backup in listed["backups"]]
    assert listed["held_in"] == {label: ["primary", "dr", "nas"]}

    place.archive.root.rename(tmp_path / "lost")
    for name in ("dr", "nas"):
        alone = ("--repository", f"file://{tmp_path}/{name}", "--key", f"file:{place.archive.key}")
        verified = pgvault("verify", *alone)
        assert verified.status == 0, verified.errors
        restored = pgvault("restore", tmp_path / f"from-{name}", *alone, "--immediate", timeout=120)
        assert restored.status == 0, restored.errors
