"""A host as the README describes it: its files, its user, its cron and its server, below one directory.

The text comes from README.md itself, with these paths put elsewhere: /opt/pgvault, /etc/pgvault, /srv/pgvault and
/var/run/postgresql. Commands run as the user that owns the data directory. Root becomes another user where that user
can reach a Python that has our dependencies (the virtual environment's, or the system's with that environment's
packages); else root enters a user namespace, in which it is an ordinary user to PostgreSQL and to itself.
"""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pgvault.postgres.owner import FALLBACK_USERS, may_unshare, namespace
from pgvault.postgres.programs import find_programs
from pgvault.process import Finished, attempt, run
from tests.archive import ROOT
from tests.servers import MAJORS, Server, ServerFactory

README = (ROOT / "README.md").read_text()
ROLE = "backup_role"
MODULES = "pgvault.cli.drill, pgvault.cli.restore, pgvault.backup.take, pgvault.stores.s3"


@dataclass(frozen=True, slots=True)
class User:
    """Whoever owns the data directory, and how to run something as him."""

    words: tuple[str, ...]  # before a command; none: we are that user
    uid: int
    gid: int
    python: str

    def run(self, argv: list[str], *, env: dict[str, str], cwd: Path, timeout: float = 120) -> Finished:
        """Run a program as this user, in this environment and no other."""
        assignments = [f"{name}={value}" for name, value in env.items()]
        return attempt([*self.words, "env", "-i", *assignments, *argv], timeout=timeout, cwd=cwd)

    def own(self, root: Path) -> None:
        """Give a tree to this user."""
        for path in (root, *root.rglob("*")):
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def python_path() -> str:
    return f"{ROOT}:{sysconfig.get_paths()['purelib']}"


@cache
def find_user() -> User:
    """Return an ordinary user that can run pgvault."""
    if os.geteuid() != 0:
        return User((), os.geteuid(), os.getegid(), sys.executable)
    for name in FALLBACK_USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        ids = (f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}")
        for python in (sys.executable, shutil.which("python3", path="/usr/bin:/bin")):
            user = User(("setpriv", *ids, "--clear-groups", "--"), entry.pw_uid, entry.pw_gid, python or sys.executable)
            tried = user.run([user.python, "-c", f"import {MODULES}"], env={"PYTHONPATH": python_path()}, cwd=Path("/"))
            if tried.status == 0 and find_major(user):
                return user
    assert may_unshare(), "there is no way to be an ordinary user"
    return User(namespace(), 0, 0, sys.executable)


def find_major(user: User) -> int | None:
    """Return the newest PostgreSQL that the user can run."""
    for major in reversed(MAJORS):
        postgres = str(find_programs(major).path("postgres"))
        if user.run([postgres, "--version"], env={}, cwd=Path("/")).status == 0:
            return major
    return None


@dataclass(frozen=True, slots=True)
class Host:
    """One host."""

    root: Path
    user: User
    server: Server

    @property
    def config(self) -> Path:
        return self.root / "etc" / "pgvault.yaml"

    @property
    def key(self) -> Path:
        return self.root / "etc" / "key"

    @property
    def repository(self) -> Path:
        return self.root / "srv" / "pgvault"

    @property
    def program(self) -> Path:
        return self.root / "opt" / "bin" / "pgvault"

    @property
    def nowhere(self) -> Path:
        """A working directory in which nothing can be written."""
        return self.root / "read-only"

    def moved(self, text: str) -> str:
        """Return a text of the README with this host's paths."""
        for there, here in {
            "/opt/pgvault": self.root / "opt",
            "/etc/pgvault": self.root / "etc",
            "/srv/pgvault": self.repository,
            "/var/run/postgresql": f"{self.server.instance.socket_dir} user={ROLE}",
        }.items():
            text = text.replace(there, str(here))
        return text

    def cron(self, command: str) -> Finished:
        """Run a line of the crontab as cron does: no HOME, a short PATH, sh, the variable that stands above it."""
        env = {"PATH": "/usr/bin:/bin", "PGVAULT_CONFIG": str(self.config)}
        return self.user.run(["sh", "-c", self.moved(command)], env=env, cwd=self.nowhere)

    def pgvault(self, *words: str) -> Finished:
        return self.cron(shlex.join([str(self.program), *words]))

    def prepare(self) -> None:
        """Lay out the host's files, as they are before anything was run."""
        for name in ("etc", "srv", "read-only"):
            (self.root / name).mkdir()
        self.install()
        self.config.write_text(self.moved(block("`/etc/pgvault/pgvault.yaml`:")))
        with (self.server.data / "postgresql.conf").open("a") as file:
            settings = self.moved(block("`postgresql.conf`, then restart the server:"))
            # Elsewhere than in /etc, where pgvault looks by itself.
            file.write(settings.replace("= '/", f"= 'PGVAULT_CONFIG={self.config} /"))
        for path in (self.root, self.server.data.parent, self.server.instance.socket_dir):
            self.user.own(path)
        self.nowhere.chmod(0o555)

    def install(self) -> None:
        """Make a virtual environment that borrows all its packages: nothing is downloaded or copied."""
        run([self.user.python, "-m", "venv", "--without-pip", "--symlinks", self.root / "opt"], timeout=60)
        (packages,) = self.root.glob("opt/lib/python*/site-packages")
        # addsitedir, since the lender may borrow by such a file too.
        lines = (f"import site; site.addsitedir({directory!r})\n" for directory in python_path().split(":"))
        (packages / "borrowed.pth").write_text("".join(lines))
        python = self.root / "opt" / "bin" / "python"
        self.program.write_text(f"#!{python}\nfrom pgvault.cli.main import main\nmain()\n")
        self.program.chmod(0o755)


def block(introduction: str) -> str:
    """Return the indented lines of the README that follow a sentence, without their indent."""
    _, found, rest = README.partition(introduction)
    assert found, f"the README no longer says {introduction!r}"
    lines = rest.lstrip("\n").splitlines()
    end = next(number for number, line in enumerate(lines) if line and not line.startswith("    "))
    return "".join(f"{line[4:]}\n" for line in lines[:end])


def make_host(factory: ServerFactory) -> Host:
    """Make a host whose server is not started yet."""
    user = find_user()
    major = find_major(user)
    assert major is not None
    server = factory(major, running=False)
    server.instance.environment = {}  # env -i
    host = Host(factory.directory(), user, server)
    host.prepare()
    return host
