"""A repository that KMS opens, from the command line, with moto's KMS over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.here import pgvault, pgvault_json
from tests.repository.kms import make_kms_key, serving_kms

pytestmark = pytest.mark.endurance  # what KMS is asked and answers is shown in tests/repository/test_kms.py


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with serving_kms() as url:
        yield url


def test_life_of_a_repository_in_kms(url: str, tmp_path: Path) -> None:
    """Made with one key, rotated, moved to another; a sheet opens it when KMS is gone."""
    first, second = (make_kms_key(url) for _ in range(2))
    config, sheet = tmp_path / "pgvault.yaml", tmp_path / "escrow.txt"

    def use(arn: str, endpoint: str = url) -> None:
        copies = {name: {"url": f"file://{tmp_path}/{name}"} for name in ("primary", "dr")}
        repository = {"key": {"kms": arn, "endpoint_url": endpoint}, "copies": copies}
        config.write_text(json.dumps({"repository": repository, "clusters": {"main": {"dsn": "host=/nowhere"}}}))

    def run(*words: str | Path) -> dict[str, Any]:
        return pgvault_json("--config", config, *words)

    use(first)
    run("init")
    assert run("key", "add", "--kms", second) == {"slot": "aws-kms-2", "keys": [1], "added": True}
    assert run("key", "rotate") == {"active": 2, "slots": ["aws-kms-1", "aws-kms-2"], "left_behind": []}
    assert run("key", "export", "--yes", "--out", sheet)["new_slot"] is True
    use(second)
    assert run("key", "remove", "aws-kms-1")["removed"] is True
    slots = {slot["name"].partition("-2")[0]: slot for slot in run("key", "list")["slots"]}
    assert slots["aws-kms"]["kms_key"] == second
    assert slots["aws-kms"]["configured"] is True
    use(first)
    assert pgvault("--config", config, "list").status != 0
    use(second, "http://127.0.0.1:9")
    assert "has no backup" in pgvault("--config", config, "list", "--key", sheet).output
