"""What the configuration names is looked at, wherever it stands there."""

from __future__ import annotations

from pathlib import Path

from pgvault.config import load_config
from pgvault.doctor.seeing import secrets

CONFIG = """
repository:
  key: file:{0}/key
  copies:
    west: {{url: "s3://bucket/x", region: west, access_key: "file:{0}/access", secret_key: "file:{0}/secret"}}
alerts:
  receivers:
    duty: {{pagerduty: "file:{0}/pagerduty"}}
clusters:
  main:
    dsn: host=a
    password: file:{0}/password
    checks_dsn: host=a
    checks_password: file:{0}/checks
"""


def test_every_file_that_holds_a_secret_is_looked_at(tmp_path: Path) -> None:
    """Not those of key and server alone: a receiver's is as good to whoever reads it."""
    path = tmp_path / "pgvault.yaml"
    path.write_text(CONFIG.format(tmp_path))

    found = {each.what: each.path.name for each in secrets(load_config(path))}

    assert found == {
        "key": "key",
        "repository.copies.west.access_key": "access",
        "repository.copies.west.secret_key": "secret",
        "alerts.receivers.duty.pagerduty": "pagerduty",
        "clusters.main.password": "password",
        "clusters.main.checks_password": "checks",
    }
