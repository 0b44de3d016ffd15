"""A server, and pgvault beside it, in containers of the image that .ci/run builds: as a pod has them.

    localhost/pgvault:ci        or what PGVAULT_TEST_OWN_IMAGE names

Each container has a read-only root, no network, no capability, no way to new rights and no more than it says it needs
to write. What they share lies in directories of this host, and belongs to the image's own user.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import psycopg
import pytest

from pgvault.audit.signer import SigningKey
from pgvault.process import Finished, attempt, run
from tests.wal.servers import wait_until

IMAGE = os.environ.get("PGVAULT_TEST_OWN_IMAGE", "localhost/pgvault:ci")
USER = 10001
LABEL = "pgvault-test"
TIMEOUT = 300
DATA = Path("/var/lib/postgresql/data")
SOCKETS = Path("/run/postgresql")
ETC = Path("/etc/pgvault")
STATE = Path("/var/lib/pgvault")
REPOSITORY = Path("/srv/repository")
RESTORED = Path("/srv/restored")

HARDENED = (
    "--read-only",
    "--read-only-tmpfs=false",  # podman's own gift, which no pod has
    "--tmpfs=/tmp:mode=1777",
    "--network=none",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    "--pull=never",
)
CONFIG = f"""\
repository:
  key: file:{ETC}/key
  copies:
    primary: {{url: "file://{REPOSITORY}"}}
audit: {{key: "file:{ETC}/audit.key"}}
clusters:
  main:
    dsn: "host={SOCKETS} user=postgres dbname=postgres"
    jobs: 2
    stream: {{spool: {STATE}/stream, every: 1s, beacon: 5s, on_gap: record}}
    checks:
      - {{name: few, query: SELECT count(*) FROM rows WHERE number < 0, threshold: 0}}
"""
REMOTE = ETC / "remote.yaml"  # of a job that does not have the server's files
# Segments are small, so that tests have many. No archive_command: nothing is archived but by the stream.
SETTINGS = {"listen_addresses": "", "fsync": "off", "shared_buffers": "16MB", "max_wal_size": "32MB"}


@cache
def missing() -> str | None:
    """Say what tests of the image lack here; None: nothing."""
    if shutil.which("podman") is None:
        return "podman is not installed"
    if attempt(["podman", "image", "inspect", IMAGE], timeout=60).status != 0:
        return f"podman has no image {IMAGE}; .ci/run makes it"
    return None


@dataclass(frozen=True, slots=True)
class Container:
    """One that was started and runs by itself."""

    name: str

    def log(self) -> str:
        """What it has said on both streams."""
        finished = attempt(["podman", "logs", self.name], timeout=TIMEOUT)
        return finished.output + finished.errors

    def runs(self) -> bool:
        return run(["podman", "inspect", "--format={{.State.Running}}", self.name], timeout=TIMEOUT).strip() == "true"

    def wait_for(self, text: str) -> None:
        """Wait until it says something."""
        wait_until(lambda: text in self.log() or not self.runs(), seconds=120)
        assert text in self.log(), self.log()

    def signal(self, name: str) -> None:
        """Send it a signal."""
        run(["podman", "kill", f"--signal={name}", self.name], timeout=TIMEOUT)

    def end(self) -> int:
        """Wait for its end, and return its exit status."""
        return int(run(["podman", "wait", self.name], timeout=TIMEOUT))

    def execute(self, *words: str) -> Finished:
        """Run a program in it."""
        return attempt(["podman", "exec", self.name, *words], timeout=TIMEOUT)


@dataclass(slots=True)
class Yard:
    """Directories that containers share, and the containers."""

    root: Path
    bin: str = ""  # of PostgreSQL, in the image
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def outside(self, inside: Path) -> Path:
        """Where this host has a directory of theirs; made when it is missing."""
        path = self.root / str(inside).strip("/").replace("/", "-")
        if not path.exists():
            path.mkdir(mode=0o700)
            os.chown(path, USER, USER)
        return path

    def words(
        self, *options: str, user: int = USER, writes: Sequence[Path] = (), reads: Sequence[Path] = ()
    ) -> list[str]:
        """What starts a container that sees no more than these directories."""
        words = ["podman", "run", f"--label={LABEL}={self.root.name}", f"--user={USER}:{USER}", *HARDENED, *options]
        words += [f"--volume={self.outside(path)}:{path}" for path in writes]
        words += [f"--volume={self.outside(path)}:{path}:ro" for path in (ETC, *reads) if path not in writes]
        return words

    def run(self, *words: str, writes: Sequence[Path] = (), reads: Sequence[Path] = ()) -> Finished:
        """Run one command of pgvault to its end, as a job does: the repository is written to, the rest as said."""
        places = (REPOSITORY, SOCKETS, *writes)
        return attempt([*self.words("--rm", writes=places, reads=reads), IMAGE, *words], timeout=TIMEOUT)

    def good(self, *words: str, writes: Sequence[Path] = (), reads: Sequence[Path] = ()) -> str:
        """The same, and it must go well; return what it printed."""
        finished = self.run(*words, writes=writes, reads=reads)
        assert finished.status == 0, (words, finished)
        return finished.output

    def start(self, *words: str, writes: Sequence[Path] = (), reads: Sequence[Path] = ()) -> Container:
        """Start a command of pgvault that stays."""
        return self._detached(IMAGE, *words, writes=(REPOSITORY, SOCKETS, *writes), reads=reads)

    def stream(self, *options: str, spool: Path = STATE) -> Container:
        """Start a stream, whose volume is `spool`."""
        return self.start("wal", "stream", *options, writes=[spool])

    def program(self, name: str, *words: str, writes: Sequence[Path], input: str | None = None) -> str:  # noqa: A002
        """Run one of the image's PostgreSQL programs to its end."""
        options = ("--rm", "--interactive", f"--entrypoint={self.bin}/{name}")
        return run([*self.words(*options, writes=writes), IMAGE, *words], timeout=TIMEOUT, input=input)

    def serve(self) -> None:
        """Make a cluster and start its server; wait until it answers."""
        script = "ls -d /usr/lib/postgresql/*/bin"
        look = ["podman", "run", "--rm", "--pull=never", "--entrypoint=sh", IMAGE, "-c", script]
        self.bin = run(look, timeout=TIMEOUT).split()[-1]
        options = ("--auth=trust", "--username=postgres", "--wal-segsize=1", "--no-sync", f"--pgdata={DATA}")
        self.program("initdb", *options, writes=[DATA])
        settings = [f"-c{name}={value}" for name, value in SETTINGS.items()]
        places = [DATA, SOCKETS]
        server = self._detached(f"--entrypoint={self.bin}/postgres", IMAGE, f"-D{DATA}", *settings, writes=places)
        server.wait_for("ready to accept connections")
        self.sql("CREATE TABLE rows (number int)")

    def sql(self, text: str) -> list[tuple[object, ...]]:
        """Run one statement as the superuser."""
        place = f"host={self.outside(SOCKETS)} user=postgres dbname=postgres"
        with psycopg.connect(place, autocommit=True) as connection:
            cursor = connection.execute(text.encode())
            return cursor.fetchall() if cursor.description else []

    def write(self, number: int, segments: int = 1) -> list[str]:
        """Insert a row, finish that many segments, and return their names."""
        names = []
        for _ in range(segments):
            self.sql(f"INSERT INTO rows VALUES ({number})")
            ((name,),) = self.sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
            self.sql("SELECT pg_switch_wal()")
            names.append(str(name))
        return names

    def archived(self) -> set[str]:
        """The names of the segments in the repository."""
        found = self.outside(REPOSITORY).glob("clusters/main/wal/*/*/*")
        return {path.name for path in found if len(path.name) == 24 and path.is_file()}

    def spooled(self, spool: Path = STATE) -> set[str]:
        """The names of the finished segments in a spool."""
        return {path.name for path in self.outside(spool).glob("stream/*/*") if len(path.name) == 24 and path.is_file()}

    def json(self, *words: str) -> object:
        """What a command prints with --json."""
        return json.loads(self.good(*words, "--json"))

    def clear(self) -> None:
        """End all containers, and remove the directories."""
        listed = run(["podman", "ps", "--all", "--quiet", f"--filter=label={LABEL}={self.root.name}"], timeout=TIMEOUT)
        if containers := listed.split():
            attempt(["podman", "rm", "--force", "--time=0", *containers], timeout=TIMEOUT)
        shutil.rmtree(self.root)

    def _detached(self, *words: str, writes: Sequence[Path], reads: Sequence[Path] = ()) -> Container:
        container = Container(f"{self.root.name}-{next(self.numbers)}")
        options = [f"--name={container.name}", "--detach"]
        run([*self.words(*options, writes=writes, reads=reads), *words], timeout=TIMEOUT)
        return container


@contextmanager
def made_yard() -> Iterator[Yard]:
    """Give a yard with a running server and an empty repository; skip, naming what is missing."""
    if (lack := missing()) is not None:
        pytest.skip(lack)
    yard = Yard(Path(tempfile.mkdtemp(prefix="pgv-", dir="/tmp")))
    try:
        (yard.outside(ETC) / "pgvault.yaml").write_text(CONFIG)
        remote = CONFIG.replace("    dsn:", "    source: stream\n    dsn:")
        (yard.outside(ETC) / REMOTE.name).write_text(remote)
        key = yard.outside(ETC) / "audit.key"
        key.write_bytes(SigningKey.generate().encode())
        os.chown(key, USER, USER)
        yard.serve()
        yard.good("init", "--generate-key", str(ETC / "key"), writes=[ETC])
        yield yard
    finally:
        yard.clear()
