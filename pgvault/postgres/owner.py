"""As whom to run programs that refuse root.

`postgres`, `initdb` and a few more do not run as root. An ordinary user runs them as himself; root has
three ways:

    data directory of another user    as that user (setpriv)
    user namespaces allowed           `unshare -U`: the program believes it is another user while its files
                                      stay root's and every path that root can reach stays reachable
    neither                           as `postgres` or `nobody` (setpriv); directories must be handed over

Both helpers exec, so the process id we get is the program's own.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from pgvault.errors import PgvaultError, ServerUnfit
from pgvault.process import run

USUAL_USER = 1000
FALLBACK_USERS = ("postgres", "nobody")


def as_server_user(argv: Sequence[str | Path], *, data: Path | None = None) -> list[str]:
    """Return `argv`, wrapped where we are root so that PostgreSQL's programs accept to run.

    With an existing `data` directory that is not root's, its owner is who runs it. Raises ServerUnfit when
    root can become nobody at all.
    """
    words = [os.fspath(word) for word in argv]
    if os.geteuid() != 0:
        return words
    owner = _foreign_owner(data)
    if owner is None:
        if may_unshare():
            return [*namespace(), *words]
        owner = _fallback_user()
    return ["setpriv", f"--reuid={owner[0]}", f"--regid={owner[1]}", "--clear-groups", "--", *words]


def hand_over(path: Path) -> None:
    """Give `path` and all below it to the user of `as_server_user` where that is a fallback user."""
    if os.geteuid() != 0 or may_unshare() or _foreign_owner(path) is not None:
        return
    change_owner(path, *_fallback_user())


def change_owner(path: Path, uid: int, gid: int) -> None:
    """Give `path` and all below it to a user; never through a link."""
    os.chown(path, uid, gid, follow_symlinks=False)
    for parent, directories, files in os.walk(path):
        for name in (*directories, *files):
            os.chown(os.path.join(parent, name), uid, gid, follow_symlinks=False)  # noqa: PTH118  names may be odd


@cache
def namespace() -> tuple[str, ...]:
    """Return what enters a user namespace: as a user who has a name on this host, since initdb asks for it."""
    try:
        number = pwd.getpwuid(USUAL_USER).pw_uid
    except KeyError:
        try:
            number, _ = _fallback_user()
        except ServerUnfit:
            number = USUAL_USER
    return ("unshare", "-U", f"--map-user={number}", f"--map-group={number}", "--")


@cache
def may_unshare() -> bool:
    """Whether this machine lets us make a user namespace; asked once."""
    try:
        run([*namespace(), "true"], timeout=10)
    except PgvaultError:
        return False
    return True


def _foreign_owner(data: Path | None) -> tuple[int, int] | None:
    try:
        status = data.stat() if data is not None else None
    except FileNotFoundError:
        return None
    return (status.st_uid, status.st_gid) if status is not None and status.st_uid != 0 else None


@cache
def _fallback_user() -> tuple[int, int]:
    for name in FALLBACK_USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise ServerUnfit(
        "PostgreSQL does not run as root, and there is no other user to run it as",
        hint="Run pgvault as the user that owns the data directory, or create a user 'postgres'.",
    )
