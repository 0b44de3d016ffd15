"""`pgvault doctor` beside a real server: it sees what was broken, tells the rest, and touches nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pgvault.errors import ConfigInvalid, ObjectiveMissed
from tests.archive import archive_command
from tests.cli.here import pgvault
from tests.cluster.places import Place, set_archive_command

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]

ROLES = """
CREATE TABLE shop (id int);
CREATE ROLE reader LOGIN;
GRANT pg_read_all_data TO reader;
CREATE ROLE writer LOGIN;
GRANT INSERT ON shop TO writer
"""
CHECK = "checks: [{name: empty, query: SELECT count(*) FROM shop, threshold: 0}]"


def configure(place: Place, more: str = "", *, dsn: str | None = None, repository: Path | None = None) -> Path:
    """Write a configuration of the place, with something more for its cluster."""
    path = place.archive.config.with_name("doctor.yaml")
    url = (repository or place.archive.root).as_uri()
    path.write_text(
        f"repository:\n  key: file:{place.archive.key}\n  copies: {{primary: {{url: '{url}'}}}}\n"
        f'clusters:\n  main: {{dsn: "{dsn or place.server.dsn}"{more and f", {more}"}}}\n'
    )
    return path


def examined(config: Path, *, status: int) -> dict[str, dict[str, Any]]:
    """What doctor tells, by where and name; the last of each."""
    finished = pgvault("--config", config, "doctor", "--json")
    assert finished.status == status, finished
    return {f"{each['where']}: {each['name']}": each for each in json.loads(finished.output)["findings"]}


def tree(*roots: Path) -> dict[str, tuple[int, int]]:
    """Every file with its size and time, but for WAL, which the server goes on to archive."""
    return {
        str(path): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for root in roots
        for path in root.rglob("*")
        if not path.is_dir() and "wal" not in path.parts
    }


@pytest.fixture(scope="module")
def site(newest: Place) -> Place:
    """The server with a backup, tables and roles."""
    for statement in ROLES.strip().split(";"):
        newest.server.sql(statement)
    newest.server.sql("ALTER SYSTEM SET archive_timeout = '60s'")
    newest.server.sql("SELECT pg_reload_conf()")
    newest.back_up()
    return newest


def test_a_cluster_that_is_set_up_is_told_so_and_left_as_it_was(site: Place) -> None:
    """Nothing of the server is wrong; what lies on one disk in a test is, and nothing in the repository changed."""
    site.archive.key.chmod(0o400)
    before = tree(site.archive.root)

    found = examined(configure(site), status=ObjectiveMissed.exit_code)

    wrong = {name for name, each in found.items() if each["level"] == "red"}
    assert wrong == {"cluster main: repository place"}, found
    for name in ("server", "archive settings", "grants", "programs for dumps", "programs for drills", "data directory"):
        assert found[f"cluster main: {name}"]["level"] == "ok", name
    for name in ("retention", "scheduled jobs", "integrity checks", "drill", "verify", "escrow"):
        assert found[f"cluster main: {name}"]["level"] == "warn", name
    assert found["cluster main: backup"]["level"] == "ok"
    assert found["host: key file"]["level"] == "ok"
    assert found["repository: second copy"]["level"] == "warn"
    assert tree(site.archive.root) == before


@pytest.mark.parametrize(("role", "level"), [("postgres", "warn"), ("writer", "warn"), ("reader", "ok")])
def test_a_role_of_checks_that_may_write_is_seen(site: Place, role: str, level: str) -> None:
    """Asked of the server itself: what the role may do counts, not what it is called."""
    config = configure(site, f'{CHECK}, checks_dsn: "{site.server.dsn_of(role)}"')

    found = examined(config, status=ObjectiveMissed.exit_code)

    assert found["cluster main: role of checks"]["level"] == level


def test_a_command_that_throws_wal_away_is_seen(site: Place) -> None:
    """While the server counts every segment as archived."""
    set_archive_command(site, "/bin/true")
    try:
        found = examined(configure(site), status=ObjectiveMissed.exit_code)
    finally:
        set_archive_command(site, archive_command(site.archive))

    assert found["cluster main: archive settings"]["level"] == "red"
    assert "throws WAL away" in found["cluster main: archive settings"]["detail"]


def test_a_role_without_grants_is_seen(site: Place) -> None:
    """With what a superuser must say."""
    found = examined(configure(site, dsn=site.server.dsn_of("reader")), status=ObjectiveMissed.exit_code)

    assert found["cluster main: server"]["level"] == "red"
    assert "GRANT" in found["cluster main: server"]["hint"]


def test_what_a_stream_needs_is_seen(site: Place) -> None:
    """A slot may keep WAL until pg_wal is full, and the spool lies beside it."""
    found = examined(
        configure(site, f"stream: {{spool: {site.server.data}/../spool}}"), status=ObjectiveMissed.exit_code
    )

    assert found["cluster main: max_slot_wal_keep_size"]["level"] == "warn"
    assert found["cluster main: spool place"]["level"] == "warn"
    assert found["cluster main: programs for the stream"]["level"] == "ok"
    assert found["cluster main: slot"]["level"] == "red"


@pytest.mark.parametrize(
    ("dsn", "repository"), [("host=/nowhere", None), (None, "nowhere"), ("host=/nowhere", "nowhere")]
)
def test_one_that_does_not_answer_keeps_the_others_from_nothing(
    site: Place, dsn: str | None, repository: str | None
) -> None:
    """A dead server, a repository that is not there, and both."""
    config = configure(site, dsn=dsn, repository=None if repository is None else site.archive.root / repository)

    found = examined(config, status=ObjectiveMissed.exit_code)

    assert (found["cluster main: server"]["level"] == "red") == (dsn is not None)
    assert (found.get("repository: store primary", {}).get("level") == "red") == (repository is not None)
    assert (found.get("cluster main: backup", {}).get("level") == "ok") == (repository is None)
    assert found["host: isolation of drills"]["level"] in ("ok", "warn")
    assert "cluster main: disk" in found
    assert found["cluster main: retention"]["level"] == "warn"


def test_a_key_and_a_repository_in_the_data_directory_are_seen(site: Place) -> None:
    """They would go with it."""
    key = site.server.data / "key"
    key.write_bytes(site.archive.key.read_bytes())
    key.chmod(0o444)
    config = configure(site)
    config.write_text(config.read_text().replace(str(site.archive.key), str(key)))
    try:
        found = examined(config, status=ObjectiveMissed.exit_code)
    finally:
        key.unlink()

    assert found["cluster main: key place"]["level"] == "red"


def test_a_configuration_that_can_not_be_read_is_told_with_what_can_be_looked_at(tmp_path: Path) -> None:
    """The exit status is its own, as of any command."""
    found = examined(tmp_path / "none.yaml", status=ConfigInvalid.exit_code)

    assert found["host: configuration"]["level"] == "red"
    assert found["host: programs"]["level"] == "ok"
