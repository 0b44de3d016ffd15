"""A drill means what production means, names what it did not see, and proves nothing without a row."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgvault.config import CheckConfig, RangeCheck
from pgvault.repository.drilled import Outcome
from tests.cluster.drills import Stage, make_stage
from tests.servers import NEWEST, ServerFactory

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]

CONFIGURATION = (
    "ALTER SYSTEM SET TimeZone = 'Asia/Tokyo'",
    "ALTER SYSTEM SET search_path = shop, public",
    "ALTER SYSTEM SET DateStyle = 'ISO, DMY'",
    "SELECT pg_reload_conf()",
)
OBJECTS = """
CREATE SCHEMA shop;
CREATE TABLE shop.visits (id int PRIMARY KEY, at timestamp NOT NULL DEFAULT localtimestamp, words tsvector);
CREATE INDEX visits_words ON shop.visits USING gin (words);
INSERT INTO shop.visits SELECT generate_series(1, 5);
"""
CHECKS = (
    RangeCheck(type="range", name="not_of_the_future", table=("shop", "visits"), column="at", max=":as_of"),
    CheckConfig(name="by_the_path", query="SELECT count(*) FROM visits WHERE num_nulls(at) = 1"),
    CheckConfig(name="day_first", query="SELECT extract(month FROM date '01/02/2026') - 2 FROM visits LIMIT 1"),
)


@pytest.fixture
def stage(server: ServerFactory, tmp_path: Path) -> Stage:
    """A shop whose configuration says more than the defaults."""
    stage = make_stage(server, NEWEST, tmp_path)
    for statement in CONFIGURATION:
        stage.server.sql(statement)
    return stage


def test_what_is_asked_means_what_it_means_in_production_and_what_is_not_seen_is_told(stage: Stage) -> None:
    """Then without a row: green for nothing is no green."""
    stage.server.sql(OBJECTS)
    stage.server.sql("CREATE DATABASE closed")
    stage.server.sql("ALTER DATABASE closed ALLOW_CONNECTIONS false")
    stage.backup()
    stage.archive_all()

    full = stage.drill(checks=CHECKS)

    assert full.passed, full.reason
    assert "database 'closed', which accepts no connections" in full.not_tested
    assert any("1 gin indexes in database 'postgres'" in each for each in full.not_tested)

    stage.server.sql("DROP SCHEMA public, shop CASCADE")
    stage.backup()
    stage.archive_all()

    hollow = stage.drill(checks=())
    allowed = stage.drill(checks=(CheckConfig(name="none", query="SELECT 0", allow_empty=True),))

    assert hollow.outcome is Outcome.NOT_RUN
    assert hollow.reason.startswith("no table of any database holds a row")
    assert allowed.passed, allowed.reason
