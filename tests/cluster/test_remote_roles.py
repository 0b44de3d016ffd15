"""Streamed backups as a role of their own takes them: TCP, a password, the grants as they are printed, and no more."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from pgvault.errors import ServerUnfit
from pgvault.postgres.grants import file_grants
from pgvault.process import Finished, attempt
from pgvault.recovery.target import LatestTarget
from tests.archive import bare_environment, program
from tests.cluster.test_remote import take_over
from tests.cluster.vaults import Vault, make_vault
from tests.servers import NEWEST, ServerFactory
from tests.wal.servers import archiving_settings, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]

PASSWORD = "sekret-1"
RECEIVERS = "SELECT count(*) FROM pg_stat_get_wal_senders()"


@dataclass(slots=True)
class Site:
    """A server that is reached by TCP alone, its configuration outside its data directory, and its hba file."""

    vault: Vault
    port: int
    hba: Path
    printed: str  # by check --print-grants

    def configure(self, dsn: str, *more: str) -> None:
        """Write the configuration with another dsn; `more` are lines of the cluster."""
        config = self.vault.archive.config
        head = config.read_text().partition("clusters:")[0]
        lines = ["clusters:", "  main:", f'    dsn: "{dsn}"', "    source: stream", *(f"    {line}" for line in more)]
        config.write_text(head + "\n".join(lines) + "\n")

    def run(self, *words: str | Path, **environment: str) -> Finished:
        """Run pgvault; the password is never in what it says."""
        argv = [*program(), "--config", self.vault.archive.config, *words]
        finished = attempt(argv, timeout=60, env=bare_environment() | environment)
        assert PASSWORD not in finished.output + finished.errors
        return finished


@pytest.fixture(scope="module")
def servers(templates: Path) -> Iterator[ServerFactory]:
    factory = ServerFactory(templates)
    try:
        yield factory
    finally:
        factory.clear()


@pytest.fixture(scope="module")
def site(servers: ServerFactory, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The role has what is printed, piped into psql; pg_hba.conf the line that is printed behind it."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    directory = tmp_path_factory.mktemp("site")
    vault = make_vault(servers, NEWEST, directory)
    server = vault.server
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    hba = directory / "pg_hba.conf"
    hba.write_text("local all all trust\nlocal replication postgres trust\nhost all all samehost scram-sha-256\n")
    server.stop()
    server.instance.port = port
    outside = {"hba_file": str(hba), "listen_addresses": "127.0.0.1", "port": str(port), "max_wal_senders": "1"}
    outside["archive_timeout"] = "60"
    server.start(archiving_settings(vault.archive) | outside)
    server.sql(f"CREATE ROLE backup LOGIN PASSWORD '{PASSWORD}'")
    (directory / "password").write_text(PASSWORD)
    made = Site(vault, port, hba, "")
    made.configure(f"host=127.0.0.1 port={port} dbname=postgres user=backup", f"password: file:{directory}/password")
    made.printed = made.run("check", "--print-grants").output
    server.sql("BEGIN; " + made.printed + "\nCOMMIT")
    return made


def admit(site: Site) -> None:
    """Add the printed line to pg_hba.conf."""
    line = site.printed.splitlines()[-1].rpartition("): ")[2]
    assert line == 'host replication "backup" samehost scram-sha-256'
    if line not in site.hba.read_text():
        site.hba.write_text(site.hba.read_text() + line + "\n")
        site.vault.server.sql("SELECT pg_reload_conf()")
        wait_until(lambda: site.vault.server.value("SELECT count(*) = 4 FROM pg_hba_file_rules"))


def test_a_refused_walsender_says_why(site: Site) -> None:
    """No line for replication, no REPLICATION, no free sender: a sentence and a hint of each, and 21."""
    unadmitted = site.run("backup")
    admit(site)
    site.vault.server.sql("ALTER ROLE backup NOREPLICATION")
    unable = site.run("backup")
    site.vault.server.sql("ALTER ROLE backup REPLICATION")
    with psycopg.connect(site.vault.server.dsn + " replication=true"):
        crowded = site.run("backup")
    wait_until(lambda: site.vault.server.value(RECEIVERS) == 0)

    assert {each.status for each in (unadmitted, unable, crowded)} == {ServerUnfit.exit_code}
    assert 'hint: Add a line to pg_hba.conf, and reload: host replication "backup" samehost' in unadmitted.errors
    assert unable.errors.splitlines()[0] == "error: role 'backup' may not replicate"
    assert crowded.errors.splitlines()[0] == "error: all 1 WAL senders are in use"


def test_the_printed_grants_suffice(site: Site) -> None:
    """For check, doctor, backup, list and status."""
    admit(site)

    checked = site.run("check")
    assert checked.status == 0, checked
    assert "lacks" not in site.run("doctor").output
    taken = site.run("backup")
    assert taken.status == 0, taken
    assert f"not in the backup, since role and protocol do not reach it: {site.hba}" in taken.errors
    (listed,) = json.loads(site.run("list", "--json").output)["backups"]
    assert "source: stream\n" in site.run("show", listed["label"]).output
    assert site.run("status").status == 0


def test_a_password_comes_from_a_file_of_libpq(site: Site, tmp_path: Path) -> None:
    """Of both sessions, with an address of several hosts; a timeout that it sets ends no backup."""
    admit(site)
    site.configure(f"postgresql://backup@127.0.0.1:1,127.0.0.1:{site.port}/postgres?options=-c%20statement_timeout%3D1")
    passfile = tmp_path / "pgpass"
    passfile.write_text(f"*:*:*:backup:{PASSWORD}\n")
    passfile.chmod(0o600)

    taken = site.run("backup", PGPASSFILE=str(passfile))

    assert taken.status == 0, taken


def test_configuration_outside_comes_with_the_grants(site: Site) -> None:
    """Then it is in the backup; what is restored starts, and root's drill of what was postgres's passes."""
    admit(site)
    for statement in file_grants("backup"):
        site.vault.server.sql(statement)
    site.vault.insert(1)
    site.configure(f"host=127.0.0.1 port={site.port} dbname=postgres user=backup", "password: env:GIVEN")
    taken = site.run("backup", GIVEN=PASSWORD)

    assert (taken.status, taken.errors) == (0, "")
    config = site.vault.directory / "etc"
    restored = site.vault.restore(LatestTarget(), config_dir=config)
    assert site.hba.read_text() in [path.read_text() for path in config.rglob("pg_hba.conf")]
    take_over(restored.directory, restored.applied.site.marks)
    site.vault.start(restored.directory).stop()
    drilled = site.run("drill")
    assert drilled.status == 0, drilled
