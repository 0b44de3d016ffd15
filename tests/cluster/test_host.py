from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pgvault.hosts.jobs import JOBS
from tests.cluster.drills import load_shop, write_orders
from tests.cluster.hosts import ROLE, Host, make_host
from tests.servers import MAJORS, ServerFactory
from tests.wal.servers import failed_count, wait_until

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def host(templates: Path) -> Iterator[Host]:
    """The README's host after its first minute: repository made, server archiving, one backup."""
    if not MAJORS:
        pytest.skip("no PostgreSQL is installed")
    factory = ServerFactory(templates)
    try:
        host = make_host(factory)
        made = host.pgvault("init", "--generate-key", str(host.key))
        assert made.status == 0, made.errors
        host.server.start()
        host.server.sql(f"CREATE ROLE {ROLE} LOGIN")
        for statement in host.pgvault("check", "--print-grants", "--role", ROLE).output.splitlines():
            host.server.sql(statement)
        load_shop(host.server.dsn)
        checked = host.pgvault("check")
        assert checked.status == 0, checked.output + checked.errors
        taken = host.pgvault("backup")
        assert taken.status == 0, taken.errors
        yield host
    finally:
        factory.clear()


def test_the_role_is_nobody_special(host: Host) -> None:
    """Whatever worked, worked without a superuser, and with nothing but what was printed."""
    ((is_super, can_replicate, can_create),) = host.server.sql(
        f"SELECT rolsuper, rolreplication, rolcreaterole OR rolcreatedb FROM pg_roles WHERE rolname = '{ROLE}'"
    )

    assert (is_super, can_replicate, can_create) == (False, False, False)
    with (
        psycopg.connect(host.server.dsn_of(ROLE), autocommit=True) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("SELECT count(*) FROM orders")


def test_the_key_is_its_owners_alone(host: Host) -> None:
    """0400, and the user that archives."""
    status = host.key.stat()

    assert (status.st_mode & 0o777, status.st_uid) == (0o400, host.user.uid)


@pytest.mark.parametrize("name", ["backup", "expire", "verify", "drill"])
def test_cron_runs_every_day_s_jobs(host: Host, name: str) -> None:
    """Without HOME, in a directory that cannot be written to; no mail about what went well but a drill's report."""
    (words,) = JOBS[name].lines("main")

    finished = host.cron(f"/opt/pgvault/bin/pgvault {' '.join(words)}")

    assert finished.status == 0, finished.output + finished.errors
    assert finished.errors == ""
    assert "error" not in finished.output
    assert bool(finished.output) == (name == "drill")


def test_the_server_archives_from_an_empty_environment(host: Host) -> None:
    """`env -i postgres`: every segment arrives by archive_command alone."""
    write_orders(host.server.dsn)
    name = str(host.server.value("SELECT pg_walfile_name(pg_current_wal_insert_lsn())"))
    host.server.sql("SELECT pg_switch_wal()")

    wait_until(lambda: list(host.repository.rglob(name)))
    assert failed_count(host.server) == 0


def test_what_is_stored_belongs_to_the_user(host: Host) -> None:
    """Nothing was made as somebody else, and nobody else may look."""
    for path in host.repository.rglob("*"):
        assert path.stat().st_uid == host.user.uid
        assert path.stat().st_mode & 0o077 & ~0o055 == 0, path


def test_a_failing_line_says_one_sentence(host: Host) -> None:
    """What cron mails: an error, a hint, and a status of its own."""
    finished = host.cron("/opt/pgvault/bin/pgvault drill --backup 20200101T000000Z-0000")

    assert finished.status not in (0, 1, 2)
    assert finished.errors.startswith("error: ")
    assert finished.errors.count("\n") <= 2


def test_with_everything_lost_but_the_key(host: Host, server: ServerFactory) -> None:
    """In an empty home, without configuration: list, show, verify, and a restore that a plain postgres starts."""
    home = server.directory()
    (home / "escrow.txt").write_bytes(host.key.read_bytes())
    (home / "escrow.txt").chmod(0o400)
    host.user.own(home)
    orders = host.server.value("SELECT count(*) FROM orders")
    host.server.sql("SELECT pg_switch_wal()")

    def pgvault(*words: str) -> str:
        source = ["--repository", host.repository.as_uri(), "--key", "file:escrow.txt"]
        env = {"HOME": str(home), "PATH": "/usr/bin:/bin"}
        finished = host.user.run([str(host.program), *words, *source], env=env, cwd=home)
        assert finished.status == 0, finished.errors
        return finished.output

    label = json.loads(pgvault("list", "--json"))["backups"][-1]["label"]
    assert json.loads(pgvault("show", label, "--json"))["label"] == label
    pgvault("verify")
    restored = json.loads(pgvault("restore", "--to", "latest", "--finish", "--json", "--yes", str(home / "restored")))
    assert restored["directory"] == str(home / "restored")

    one = server.adopt(host.server.programs, home / "restored", running=False)
    host.user.own(one.instance.socket_dir)
    one.start()
    assert one.value("SELECT count(*) FROM orders") == orders
    assert sorted(path.name for path in home.iterdir()) == [
        "escrow.txt",
        "restored",
        "restored.pgvault",  # the archive settings as they were, for adopt
    ]
