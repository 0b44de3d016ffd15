from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from pgvault.config import parse_config
from pgvault.config.anomaly import AnomalyConfig
from pgvault.errors import ConfigInvalid, ConfigUnknownKey

AT = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)


def read(text: str) -> AnomalyConfig:
    cluster: dict[str, Any] = {"dsn": "dbname=postgres", "anomaly": yaml.safe_load(text)}
    copies = {"a": {"url": "file:///a"}}
    document = {"repository": {"key": "env:KEY", "copies": copies}, "clusters": {"main": cluster}}
    return parse_config(document, where="test").cluster("main")[1].anomaly


def test_limits_are_shares_or_off() -> None:
    """Half, where nothing is said; yaml's own false is the word off."""
    found = read("{size: 20%, changed: off, wal: 'off', databases: 150 %, rows: 12.5%}")

    assert (found.size, found.changed, found.wal, found.databases, found.rows) == (0.2, None, None, 1.5, 0.125)
    assert (found.files, found.compression, found.accept_after) == (0.5, 0.5, timedelta(days=30))
    assert read("{}") == AnomalyConfig()
    assert (AnomalyConfig().databases, AnomalyConfig().size) == (0, 0.5)


def test_an_operators_word_is_an_instant() -> None:
    """As status prints it, with or without quotes."""
    for text in ("2026-01-15T10:30:00+01:00", "'2026-01-15T10:30:00+01:00'", "2026-01-15T09:30:00Z"):
        assert read(f"{{normal_since: {text}, accept_after: 7d}}") == AnomalyConfig(
            normal_since=AT, accept_after=timedelta(days=7)
        )


@pytest.mark.parametrize(
    "text",
    [
        "{size: 50}",
        "{size: -5%}",
        "{size: half}",
        "{size: true}",
        "{normal_since: 2026-01-15}",
        "{normal_since: 2026-01-15T10:30:00}",
        "{normal_since: yesterday}",
        "{accept_after: 0d}",
        "{accept_after: 30}",
        "{sizes: 50%}",
        "{stored: 50%}",
        "50%",
    ],
)
def test_what_makes_no_sense_is_refused(text: str) -> None:
    """A typo must not turn a limit off."""
    with pytest.raises((ConfigInvalid, ConfigUnknownKey)):
        read(text)
