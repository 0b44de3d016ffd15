"""Root's drills beside everything else: the server and its programs run as a user who owns nothing but the scratch.

Root in a user namespace still owns all that is root's: a function that a superuser of the restored cluster wrote could
write to it (tried). This user has no name, no group, no capability, and no way to gain any (no_new_privs). What he can
do is what everybody can: read what all may read, write where all may write, connect to sockets that let everybody in.

It does not work where the scratch, PostgreSQL's programs or their libraries lie below a directory that others may not
enter.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pgvault.errors import DrillNotRun, PgvaultError
from pgvault.postgres.launcher import Command, HostLauncher
from pgvault.postgres.owner import change_owner
from pgvault.postgres.programs import Programs
from pgvault.process import attempt

# Whom this host hardly knows; root's containers run as the same.
OWNER = (10001, 10001)
WORDS = ("setpriv", f"--reuid={OWNER[0]}", f"--regid={OWNER[1]}", "--clear-groups", "--no-new-privs", "--")
PROBE = '[ -w "$1" ] || { echo "the scratch can not be entered by another user" >&2; exit 1; }; exec "$2" --version'
PROBE_SECONDS = 60.0


class OwnUserLauncher(HostLauncher):
    """Runs everything beside us, as OWNER; a Launcher for root alone."""

    def command(self, argv: Sequence[str | Path], *, env: Mapping[str, str], data: Path | None = None) -> Command:  # noqa: ARG002
        """Return how to run a program as that user, whatever it works on: psql runs what a dump tells it to."""
        return Command([*as_owner(argv)], env)

    def give(self, path: Path) -> None:
        """Change the owner."""
        change_owner(path, *OWNER)

    def words(self, argv: Sequence[str | Path], data: Path) -> list[str]:  # noqa: ARG002
        """Return what starts a server."""
        return as_owner(argv)


def as_owner(argv: Sequence[str | Path]) -> list[str]:
    """Return `argv`, to be run as OWNER."""
    return [*WORDS, *(os.fspath(word) for word in argv)]


def find_own_user(root: Path, programs: Programs) -> OwnUserLauncher:
    """Return the launcher of a scratch directory. Raises DrillNotRun, saying why, where that user can not work."""
    probe = root / "probe"
    try:
        root.chmod(0o711)
        probe.mkdir(mode=0o700)
        os.chown(probe, *OWNER)
        told = attempt(as_owner(["sh", "-c", PROBE, "sh", probe, programs.path("postgres")]), timeout=PROBE_SECONDS)
        probe.rmdir()
    except (OSError, PgvaultError) as error:
        raise DrillNotRun(f"no user of its own can be had: {error}") from error
    if told.status != 0:
        root.chmod(0o700)
        said = told.errors.strip().splitlines() or ["it said nothing"]
        raise DrillNotRun(f"a user of its own can not run PostgreSQL here: {said[-1]}")
    return OwnUserLauncher()
