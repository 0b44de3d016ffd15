"""A cluster comes back from what its copies hold between them, or from one of them alone."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pgvault.errors import ConfigInvalid, ObjectiveMissed, Refused, StoreUnreachable
from pgvault.process import attempt
from tests.cli.here import pgvault
from tests.cluster.drills import Stage, make_told_stage
from tests.cluster.harm import Pair, make_pair
from tests.servers import NEWEST, ServerFactory

pytestmark = pytest.mark.cluster

COUNTS = (
    "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM customers), (SELECT sum(total_amount) FROM orders)"
)


@pytest.fixture(scope="module")
def stage(templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A shop with a backup, and with orders after it that are archived."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    factory = ServerFactory(templates)
    try:
        yield make_told_stage(factory, NEWEST, tmp_path_factory.mktemp("copies"))
    finally:
        factory.clear()


@pytest.fixture
def pair(stage: Stage, tmp_path: Path) -> Pair:
    return make_pair(stage.archive, tmp_path, scratch=stage.scratch)


class Doorbell:
    """A server that counts who connects, and answers nobody."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])

    @property
    def rings(self) -> int:
        """Connections that came so far; the kernel takes them without us."""
        self._listener.setblocking(False)
        count = 0
        with suppress(BlockingIOError):
            while True:
                self._listener.accept()[0].close()
                count += 1
        return count

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def doorbell() -> Iterator[Doorbell]:
    bell = Doorbell()
    socket.create_connection(("127.0.0.1", bell.port)).close()
    assert bell.rings == 1  # it does ring
    yield bell
    bell.close()


def restored_rows(server: ServerFactory, stage: Stage, data: Path) -> object:
    """Start what was restored, which fetches its WAL by its plan, and count."""
    one = server.adopt(stage.server.programs, data)
    one.instance.wait_ready(60)
    found = one.sql(COUNTS)
    one.stop()
    return found


def test_restore_with_every_object_damaged_in_one_copy_or_the_other(
    stage: Stage, pair: Pair, server: ServerFactory, tmp_path: Path
) -> None:
    """Cut, flipped, deleted or swapped: each is whole in one copy, so all of the cluster comes back, and it is said."""
    harmed = pair.harm_all()
    assert {way for _, way in harmed.values()} == {"cut", "flip", "delete", "swap"}
    directory = tmp_path / "restored"

    finished = pgvault("--config", pair.config, "restore", "--to", "latest", directory, "--json")

    assert finished.status == 0, finished.errors
    healed = {each["copy"]: each for each in json.loads(finished.output)["healed"]}
    assert healed["primary"]["taken_from"] == "dr"
    for name, each in healed.items():
        assert {harmed[Path(path)][0] for path in each["first"]} == {name}
    assert "taken from copy 'dr'" in finished.errors
    assert restored_rows(server, stage, directory) == stage.server.sql(COUNTS)


@pytest.mark.endurance
@pytest.mark.parametrize("salt", "abcdefghijkl")
def test_whatever_is_damaged_where(stage: Stage, pair: Pair, tmp_path: Path, salt: str) -> None:
    """Identity here and key there, root here and parts there: PostgreSQL's own program finds the directory whole."""
    pair.harm_all(salt)

    finished = pgvault("--config", pair.config, "restore", "--to", "latest", tmp_path / "restored")

    assert finished.status == 0, finished.errors
    said = attempt([stage.server.programs.path("pg_verifybackup"), tmp_path / "restored"], timeout=120)
    assert said.status == 0, said.errors


def test_status_and_list_tell_of_damage(pair: Pair) -> None:
    """What they had to take from another copy shows; the objects that they do not read, `verify` looks at."""
    pair.harm_all()

    listed = pgvault("--config", pair.config, "list", "--json")
    status = pgvault("--config", pair.config, "status", "--json")

    assert listed.status == 0, listed.errors
    assert len(json.loads(listed.output)["backups"]) == 1
    assert json.loads(listed.output)["healed"]
    (cluster,) = json.loads(status.output)["clusters"]
    assert "damage" in {finding["name"] for finding in cluster["findings"]}
    assert "objects came from copy" in pgvault("--config", pair.config, "list").output


def test_restore_with_the_first_copy_gone(stage: Stage, pair: Pair, server: ServerFactory, tmp_path: Path) -> None:
    """The region is lost: list, show and restore take the next, the plan asks no other, and nothing is adopted."""
    shutil.rmtree(pair.primary)
    directory = tmp_path / "restored"

    listed = pgvault("--config", pair.config, "list", "--json")
    assert listed.status == 0, listed.errors
    assert listed.errors.count("copy 'primary'") == 1
    document = json.loads(listed.output)
    assert [each["copy"] for each in document["unread_copies"]] == ["primary"]
    assert document["copies"] == ["dr"]
    assert pgvault("--config", pair.config, "show", document["backups"][0]["label"]).status == 0
    refused = pgvault("--config", pair.config, "restore", "--to", "latest", directory, "--adopt")
    assert refused.status == StoreUnreachable.exit_code
    assert "nothing can be written without copy 'primary'" in refused.errors
    assert not directory.exists()

    finished = pgvault("--config", pair.config, "restore", "--to", "latest", directory)

    assert finished.status == 0, finished.errors
    assert "read without copy 'primary'" in finished.output
    assert json.loads((tmp_path / "restored.pgvault/plan.json").read_text())["copies"] == ["dr"]
    assert restored_rows(server, stage, directory) == stage.server.sql(COUNTS)


def test_status_is_red_while_the_first_copy_is_gone(pair: Pair) -> None:
    """What the other holds is told, and nobody takes that for well."""
    shutil.rmtree(pair.primary)

    finished = pgvault("--config", pair.config, "status", "--json")

    assert finished.status == ObjectiveMissed.exit_code
    (cluster,) = json.loads(finished.output)["clusters"]
    findings = {finding["name"]: finding for finding in cluster["findings"]}
    assert findings["reading"]["level"] == "red"
    assert findings["backup"]["figures"]["count"] == 1


@pytest.mark.endurance
def test_drill_with_the_first_copy_gone(pair: Pair) -> None:
    """The proof is there all the same; that it is not stored, since only the first copy takes records, is said."""
    shutil.rmtree(pair.primary)

    finished = pgvault("--config", pair.config, "drill", "--json")

    assert finished.status == 0, finished.errors
    document = json.loads(finished.output)
    assert document["passed"] is True
    assert document["copies"] == ["dr"]
    assert any("is not stored" in note for note in document["notes"])


@pytest.mark.endurance
def test_drill_with_every_object_damaged_in_one_copy_or_the_other(pair: Pair) -> None:
    """It passes, and its report counts what was healed."""
    harmed = pair.harm_all()

    finished = pgvault("--config", pair.config, "drill", "--json")

    assert finished.status == 0, finished.errors
    healed = json.loads(finished.output)["healed"]
    read = [path for path, (name, _) in harmed.items() if name == "primary" and path.parent.name == "packs"]
    assert sum(each["objects"] for each in healed) >= len(read)


@pytest.mark.endurance
def test_only_copy_touches_no_other(
    stage: Stage, pair: Pair, server: ServerFactory, tmp_path: Path, doorbell: Doorbell
) -> None:
    """Drill, restore with the recovery behind it, and list: nobody so much as connects to the other copy's endpoint.

    The escrow sheet opens it: the host's own key is lost. Nor is its server asked for anything.
    """
    sheet = tmp_path / "escrow.txt"
    exported = pgvault("--config", pair.config, "key", "export", "--out", sheet)
    assert exported.status == 0, exported.errors
    config = json.loads(pair.config.read_text())
    config["repository"]["key"] = f"file:{tmp_path}/lost"
    config["clusters"]["main"]["dsn"] = f"host=127.0.0.1 port={doorbell.port} dbname=postgres"
    config["repository"]["copies"]["primary"] = {
        "url": "s3://bucket/prefix",
        "endpoint_url": f"http://127.0.0.1:{doorbell.port}",
        "region": "us-east-1",
    }
    pair.config.write_text(json.dumps(config))

    alone = ("--only-copy", "dr", "--key", sheet)
    drilled = pgvault("--config", pair.config, "drill", *alone, "--json")
    restored = pgvault("--config", pair.config, "restore", "--to", "latest", *alone, tmp_path / "restored")
    listed = pgvault("--config", pair.config, "list", *alone, "--json")

    assert drilled.status == restored.status == listed.status == 0, drilled.errors + restored.errors
    assert json.loads(drilled.output)["copies"] == json.loads(listed.output)["copies"] == ["dr"]
    assert json.loads(drilled.output)["key"]["is_escrow_sheet"] is True
    assert restored_rows(server, stage, tmp_path / "restored") == stage.server.sql(COUNTS)
    assert doorbell.rings == 0


def test_only_copy_must_be_one_of_them_and_writes_nothing_but_there(pair: Pair, tmp_path: Path) -> None:
    """A typo is no restore from somewhere else; to adopt is to write, which only the first copy takes."""
    typo = pgvault("--config", pair.config, "restore", "--to", "latest", "--only-copy", "rd", tmp_path / "restored")
    adopting = pgvault(
        "--config", pair.config, "restore", "--to", "latest", "--only-copy", "dr", "--adopt", tmp_path / "restored"
    )

    assert typo.status == ConfigInvalid.exit_code
    assert "primary, dr" in typo.errors
    assert adopting.status == Refused.exit_code
    assert not (tmp_path / "restored").exists()
