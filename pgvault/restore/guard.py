"""The text of restore_command: our fetch behind a guard written in sh.

    trap "exit 255" EXIT; FETCH "%f" "%p"; rc=$?; trap - EXIT;
    [ $rc -eq 0 ] && exit 0; [ $rc -eq 77 ] && exit 1; exit 255         (one line)

PostgreSQL takes any status from 1 to 125 for "there is no such file", which to it means: this is the end of the
WAL, open for writing here. Python ends with 1 or 2 whenever it is broken, and dash with 2 when it cannot even
fork; so only 77, which nothing else produces, becomes 1. All else becomes 255: the server stops, nothing is
harmed, and the same directory recovers when it is started again (tried on 15, 17 and 18). The guard stands in
the setting itself, since a guard in a file is one more file that can be missing.

A follower (standby.signal) has it the other way round: 255 would take it down, 1 keeps it waiting for WAL.

The text is what PostgreSQL shall hand to the shell, `%` doubled for PostgreSQL; settings.py quotes it for
postgresql.auto.conf.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pgvault.errors import WAL_ABSENT_EXIT, UsageError


def restore_command(fetch: Sequence[str], *, follows: bool = False) -> str:
    """Return the value of restore_command that runs `fetch` with the file's name and destination behind it.

    `fetch` is a program, absolute since a server's PATH is anyone's guess, and its arguments; any text but NUL.
    `follows` makes the flavour for a standby. Raises UsageError.
    """
    if not fetch or not fetch[0].startswith("/"):
        raise UsageError(f"restore_command needs the absolute path of a program, got {' '.join(fetch)!r}")
    if any("\0" in word for word in fetch):
        raise UsageError("restore_command can not hold a NUL byte")
    # %f is a WAL file's name and %p a path below the data directory: nothing that double quotes let through.
    command = f'{shlex.join(fetch).replace("%", "%%")} "%f" "%p"'
    if follows:
        return f'trap "exit 1" EXIT; {command} && trap - EXIT && exit 0; exit 1'
    return (
        f'trap "exit 255" EXIT; {command}; rc=$?; trap - EXIT;'
        f" [ $rc -eq 0 ] && exit 0; [ $rc -eq {WAL_ABSENT_EXIT} ] && exit 1; exit 255"
    )
