"""What customers were promised: an audit trail that nobody edits: who, when, where from, what, trusted time."""

from __future__ import annotations

import getpass
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pgvault.repository.fields import read_instant
from tests.archive import KEY
from tests.cli.here import pgvault, pgvault_json


def test_the_trail_tells_who_when_from_where_and_what(tmp_path: Path) -> None:
    """The very first command is recorded, with this host's time and the store's; a changed byte is found."""
    key, config, root = tmp_path / "key", tmp_path / "pgvault.yaml", tmp_path / "repository"
    key.write_text(KEY.hex() + "\n")
    config.write_text(
        f"repository:\n  key: file:{key}\n  copies:\n    primary: {{url: '{root.as_uri()}'}}\nclusters: {{}}\n"
    )
    assert pgvault("init", "--config", config).status == 0

    (entry,) = pgvault_json("audit", "list", "--config", config)["entries"]

    by = entry["event"]["by"]
    assert (entry["event"]["what"], entry["event"]["result"]) == ("init", "ok")
    assert (by["user"], by["host"]) == (getpass.getuser(), socket.gethostname())
    assert by["from"]
    for at in (entry["at"], entry["store_at"]):
        assert abs(datetime.now(UTC) - read_instant(at)) < timedelta(minutes=5)
    assert pgvault("audit", "verify", "--config", config).status == 0
    (stored,) = (path for path in (root / "audit").rglob("*") if path.is_file())
    content = bytearray(stored.read_bytes())
    content[-20] ^= 1
    stored.write_bytes(bytes(content))
    assert pgvault("audit", "verify", "--config", config).status == 37
