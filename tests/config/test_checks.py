"""Where checks are written: inline, in a file of either shape, with a schedule for all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pgvault.config import AnyCheck, parse_config
from pgvault.errors import ConfigInvalid


def configured(checks: object) -> tuple[AnyCheck, ...]:
    """The checks of a cluster."""
    repository = {"key": "file:/k", "copies": {"primary": {"url": "file:///r"}}}
    document = {"repository": repository, "clusters": {"main": {"dsn": "", "checks": checks}}}
    return parse_config(document, where="x").clusters["main"].checks


def test_a_file_of_checks_has_a_schedule_for_those_without_one() -> None:
    """What stands at a check itself wins."""
    checks = [{"name": "a", "query": "SELECT 1"}, {"name": "b", "query": "SELECT 1", "schedule": "@daily"}]

    loaded = configured({"schedule": "*/30 * * * *", "checks": checks})

    assert [check.schedule for check in loaded] == ["*/30 * * * *", "@daily"]


def test_an_unknown_key_beside_checks_is_refused() -> None:
    """A typo of `schedule` would be a schedule that nobody keeps."""
    with pytest.raises(ConfigInvalid, match="unknown key 'shedule'"):
        configured({"shedule": "@daily", "checks": []})


def test_checks_come_from_a_file_of_either_shape(tmp_path: Path) -> None:
    """A list, or the list under data_validation.checks."""
    checks = [{"name": "orphans", "query": "SELECT 1"}]
    for number, document in enumerate([checks, {"checks": checks}, {"data_validation": {"checks": checks}}]):
        path = tmp_path / f"checks{number}.yaml"
        path.write_text(yaml.safe_dump(document))
        assert [check.name for check in configured(str(path))] == ["orphans"]

    with pytest.raises(ConfigInvalid):
        configured(str(tmp_path / "nowhere.yaml"))


def test_a_name_stands_for_one_check() -> None:
    """Who watches results by name sees the last of two."""
    with pytest.raises(ConfigInvalid, match="two checks are called 'a'"):
        configured([{"name": "a", "query": "SELECT 1"}, {"name": "a", "query": "SELECT 2"}])


@pytest.mark.parametrize("threshold", [".inf", "nan"])
def test_a_threshold_is_a_number(threshold: str) -> None:
    """Infinity would pass everything."""
    with pytest.raises(ConfigInvalid, match="threshold"):
        configured([{"name": "a", "query": "SELECT 1", "threshold": float(threshold.lstrip("."))}])
