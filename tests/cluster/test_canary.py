"""What must never be seen outside: a string in the database, and every secret that opens something.

They are looked for in every byte that is stored, in what is left in temporary places, in everything that is said (-v),
and, while the commands run, in the command lines of all processes and in the environments of ours.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import boto3
import pytest
from moto.server import ThreadedMotoServer

from pgvault.process import attempt
from tests.servers import NEWEST, Server, ServerFactory
from tests.wal.servers import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]

SECONDS = 300
REGION: Final = "eu-west-1"


@dataclass(frozen=True, slots=True)
class Secrets:
    """Fresh ones for each run, so that nothing else on this machine can hold them."""

    canary: str = field(default_factory=lambda: f"canary{secrets.token_hex(16)}")  # in the database
    password: str = field(default_factory=lambda: secrets.token_hex(16))  # of the role
    passphrase: str = field(default_factory=lambda: f"correct horse {secrets.token_hex(12)}")
    raw: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    s3: str = field(default_factory=lambda: secrets.token_hex(20))

    @property
    def forms(self) -> dict[str, bytes]:
        """Every form in which one might be written down."""
        return {
            "canary": self.canary.encode(),
            "password": self.password.encode(),
            "passphrase": self.passphrase.encode(),
            "raw key": self.raw,
            "raw key in hex": self.raw.hex().encode(),
            "raw key in base64": base64.b64encode(self.raw),
            "raw key on a sheet": self.raw[:8].hex(" ", 2).encode(),
            "S3 secret": self.s3.encode(),
        }


class Watch(threading.Thread):
    """Looks at the command lines of all processes, and at the environments of those that are ours, until stopped."""

    def __init__(self, hidden: Mapping[str, bytes], mark: bytes) -> None:
        super().__init__(daemon=True)
        self.found: set[str] = set()
        self.seen = 0  # processes of ours
        self._hidden = hidden
        self._mark = mark  # an environment variable that ours have
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.01):
            for process in Path("/proc").iterdir():
                if process.name.isdigit() and int(process.name) != os.getpid():
                    self._look(process)

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def _look(self, process: Path) -> None:
        try:
            words, environment = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:  # it has ended
            return
        self.found |= {f"{name} in argv: {words[:60]!r}" for name, form in self._hidden.items() if form in words}
        if self._mark not in environment:
            return
        self.seen += 1
        for name, form in self._hidden.items():
            # The password reaches PostgreSQL's own programs in PGPASSWORD, and nothing else in any way.
            if form in environment.replace(b"PGPASSWORD=" + self._hidden["password"], b""):
                self.found.add(f"{name} in the environment of {words[:60]!r}")


@dataclass(slots=True)
class Site:
    """A server, a repository with a copy in a bucket and one in a directory, and everything else in one place."""

    directory: Path
    hidden: Secrets
    endpoint: str
    said: list[str] = field(default_factory=list)

    @property
    def config(self) -> Path:
        return self.directory / "pgvault.yaml"

    @property
    def vault(self) -> Path:
        return self.directory / "private"

    @property
    def received(self) -> Path:
        return self.directory / "received"

    @property
    def environment(self) -> dict[str, str]:
        """All temporary places are ours to look at."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory / "home"),
            "TMPDIR": str(self.directory / "tmp"),
            "PGVAULT_STATE": str(self.directory / "state"),
            "XDG_STATE_HOME": str(self.directory / "state"),
        }

    def make(self) -> None:
        for name in ("private", "home", "tmp", "state", "spool"):
            (self.directory / name).mkdir(mode=0o700)
        hidden = self.hidden
        files = {
            "words": hidden.passphrase,
            "key": hidden.raw.hex(),
            "password": hidden.password,
            "access": "AKIATEST",
            "secret": hidden.s3,
        }
        for name, content in files.items():
            (self.vault / name).write_text(content + "\n")

    def configure(self, dsn: str, key: object, **more: object) -> None:
        private = self.vault
        bucket = {
            "url": "s3://backups/pg",
            "region": REGION,
            "endpoint_url": self.endpoint,
            "access_key": f"file:{private}/access",
            "secret_key": f"file:{private}/secret",
        }
        copies = {"primary": bucket, "dr": {"url": f"file://{self.directory}/dr", "mode": "sync"}}
        cluster = {
            "dsn": dsn,
            "password": f"file:{private}/password",
            "drill": {"scratch": str(self.directory / "tmp")},
            "logical": {"spool": str(self.directory / "spool")},
            "archive_wait": "60s",
            **more,
        }
        self.config.write_text(
            json.dumps({"repository": {"key": key, "copies": copies}, "clusters": {"main": cluster}})
        )

    def run(self, *words: str | Path) -> str:
        """Run a command, telling all that it can, and keep what it said."""
        argv = [sys.executable, "-m", "pgvault", "-v", "--config", str(self.config), *map(str, words)]
        finished = attempt(argv, timeout=SECONDS, env=self.environment)
        self.said.append(finished.output + finished.errors)
        assert finished.status == 0, finished
        return finished.output

    def stream(self, source: Server) -> None:
        """Stream until a tail with the canary is stored, then end in order."""
        log = self.directory / "stream.log"
        argv = [sys.executable, "-m", "pgvault", "-v", "--config", str(self.config), "wal", "stream"]
        with log.open("wb") as sink:
            process = subprocess.Popen(argv, stdout=sink, stderr=sink, env=self.environment)
        try:
            wait_until(lambda: "streaming from" in log.read_text(), seconds=60)
            source.sql(f"INSERT INTO birds VALUES (0, '{self.hidden.canary}')")
            wait_until(lambda: any(".tail/" in key for key in self.bucket()), seconds=60)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, log.read_text()

    def bucket(self) -> dict[str, bytes]:
        """Every object that is stored in S3."""
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="AKIATEST",
            aws_secret_access_key=self.hidden.s3,
        )
        with closing(client):
            pages = client.get_paginator("list_objects_v2").paginate(Bucket="backups")
            keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
            return {key: client.get_object(Bucket="backups", Key=key)["Body"].read() for key in keys}

    def left(self) -> dict[str, bytes]:
        """Every file in every place of ours, but the secrets themselves, and what was said."""
        # pg_receivewal writes plain WAL into the stream's spool, as PostgreSQL does into pg_wal.
        places = [path for path in self.directory.iterdir() if path not in (self.vault, self.received)]
        files = [file for place in places for file in (place.rglob("*") if place.is_dir() else [place])]
        found = {str(file): file.read_bytes() for file in files if file.is_file()}
        return found | {f"output {number}": text.encode() for number, text in enumerate(self.said)}


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 server in this process, which is not watched."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def make_bucket(site: Site) -> None:
    client = boto3.client(
        "s3", endpoint_url=site.endpoint, region_name=REGION, aws_access_key_id="x", aws_secret_access_key="x"
    )
    with closing(client):
        client.create_bucket(Bucket="backups", CreateBucketConfiguration={"LocationConstraint": REGION})


def prepare(server: ServerFactory, site: Site) -> tuple[Server, str]:
    """A server whose archiver pushes, with the canary in a table, and a role that logs in with its password."""
    push = f'"{sys.executable}" -m pgvault --config "{site.config}" wal push "%p"'
    source = server(
        NEWEST, settings={"archive_mode": "on", "archive_timeout": "60s", "archive_command": push}, running=False
    )
    source.instance.environment = site.environment
    source.start()
    source.sql(f"CREATE ROLE guard SUPERUSER LOGIN REPLICATION PASSWORD '{site.hidden.password}'")
    source.sql(f"CREATE TABLE birds AS SELECT n, '{site.hidden.canary}' AS song FROM generate_series(1, 2000) n")
    source.sql("CREATE INDEX ON birds (song)")
    return source, source.dsn_of("guard")


def test_nothing_secret_is_seen_anywhere(server: ServerFactory, endpoint: str) -> None:
    """Full and logical backup, archiver, drill by the sheet alone, restore, rotation, and the sheet itself."""
    site = Site(server.directory(), Secrets(), endpoint)
    site.make()
    make_bucket(site)
    words = {"passphrase": f"file:{site.vault}/words"}
    site.configure("host=/nowhere", words)
    site.run("init")
    source, dsn = prepare(server, site)
    site.configure(dsn, words)
    watch = Watch(site.hidden.forms, f"PGVAULT_STATE={site.directory}/state".encode())
    watch.start()
    try:
        live_through(site, server, source, dsn)
    finally:
        watch.stop()

    assert watch.seen > 100
    assert sorted(watch.found) == []
    stored, left = site.bucket(), site.left()
    assert len(stored) > 20
    assert sum(1 for path in left if f"{site.directory}/dr/" in path) > 20
    assert seen_in(site.hidden.forms, stored) == []
    assert seen_in(site.hidden.forms, left) == []


def live_through(site: Site, server: ServerFactory, source: Server, dsn: str) -> None:
    """Do everything that handles a secret or the database's content."""
    site.run("key", "add", "--key", f"file:{site.vault}/key", "--name", "machine")
    site.configure(dsn, f"file:{site.vault}/key")
    site.run("check")
    site.run("backup")
    source.sql(f"INSERT INTO birds SELECT n, '{site.hidden.canary}' FROM generate_series(1, 2000) n")
    site.run("backup", "--type", "logical")
    site.run("key", "rotate", "--with", f"passphrase:file:{site.vault}/words")
    source.sql("SELECT pg_switch_wal()")
    wait_until(lambda: source.value("SELECT last_archived_wal IS NOT NULL FROM pg_stat_archiver"))
    site.run("backup")
    site.run("status")
    site.configure(dsn, f"file:{site.vault}/key", stream={"spool": str(site.received), "every": "1s"})
    site.stream(source)
    site.run("key", "export", "--out", site.vault / "escrow.txt")
    site.run("copy")
    site.run("verify")
    drilled = json.loads(site.run("drill", "--only-copy", "dr", "--key", site.vault / "escrow.txt", "--json"))
    assert (drilled["passed"], drilled["copies"], drilled["key"]["is_escrow_sheet"]) == (True, ["dr"], True)
    site.run("drill", "--logical", "latest")
    restored = server.directory() / "data"
    site.run("restore", "--to", "latest", "--finish", str(restored))
    site.run("list")
    site.run("key", "list")


def seen_in(forms: Mapping[str, bytes], places: Mapping[str, Any]) -> list[str]:
    """Name every place that holds a secret in any form."""
    return sorted(
        f"{name} in {place}" for place, content in places.items() for name, form in forms.items() if form in content
    )


def test_watch_sees_what_is_there(tmp_path: Path) -> None:
    """A secret in a command line, one in an environment, and one in a file: the test above could be red."""
    hidden = Secrets()
    mark = f"PGVAULT_STATE={tmp_path}"
    watch = Watch(hidden.forms, mark.encode())
    watch.start()
    environment = {"PGVAULT_STATE": str(tmp_path), "KEY": hidden.raw.hex(), "PGPASSWORD": hidden.password}
    process = subprocess.Popen(["/bin/sh", "-c", "sleep 60 # $1", "sh", hidden.passphrase], env=environment)
    try:
        wait_until(lambda: len(watch.found) > 1)
    finally:
        process.kill()
        process.wait()
        watch.stop()

    assert {finding.split(" in ")[0] for finding in watch.found} == {"passphrase", "raw key"}
    assert not any("password" in finding for finding in watch.found)
    assert seen_in(hidden.forms, {"x": b"..." + hidden.raw + b"..."}) == ["raw key in x"]
