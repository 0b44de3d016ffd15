"""`schedule:` of a cluster: cron's expressions, words, and off."""

from __future__ import annotations

import re

import pytest

from pgvault.config import ClusterConfig, Schedule, parse_config
from pgvault.errors import ConfigInvalid


def scheduled(**jobs: object) -> Schedule:
    return ClusterConfig.model_validate({"dsn": "", "schedule": jobs}).schedule


def test_every_job_has_its_line() -> None:
    """A word, a nickname or five fields each; what is not said is not scheduled."""
    jobs = {
        "backup": "daily",
        "logical": "@weekly",
        "schema": "*/5 * * * *",
        "drill": "0 5 * * 6",
        "verify": "weekly",
        "expire": "monthly",
        "copy": "hourly",
    }

    assert scheduled(**jobs).jobs == {
        "backup": "0 1 * * *",
        "logical": "0 0 * * 0",
        "schema": "*/5 * * * *",
        "drill": "0 5 * * 6",
        "verify": "0 2 * * 0",
        "expire": "0 3 1 * *",
        "copy": "0 * * * *",
        "checks": None,
    }
    assert set(scheduled().jobs.values()) == {None}


@pytest.mark.parametrize("off", ["off", "Off", False, None])
def test_off_is_not_scheduled(off: object) -> None:
    """YAML makes false of an unquoted off."""
    assert scheduled(backup=off).backup is None


@pytest.mark.parametrize("wrong", ["dailly", "0 1 * *", "0 25 * * *", "0 0 31 2 *", "0 0 1 * * *"])
def test_what_cron_would_not_run_is_refused_with_its_value(wrong: str) -> None:
    """A schedule that nothing keeps must not look like one."""
    document = {
        "repository": {"key": "file:/k", "copies": {"primary": {"url": "file:///srv"}}},
        "clusters": {"main": {"dsn": "", "schedule": {"backup": wrong}}},
    }
    with pytest.raises(ConfigInvalid, match=re.escape(f"{wrong!r} is neither")):
        parse_config(document, where="x")
