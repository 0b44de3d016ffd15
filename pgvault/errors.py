"""Everything that can go wrong, one class and one exit code each.

    PgvaultError                      1    something an operator must hear about
    ├── UsageError                    2    the command line does not make sense
    ├── ConfigInvalid                10    the configuration is missing or wrong
    ├── ConfigUnknownKey             11    the configuration holds a key we do not know
    ├── PlainSecret                  12    the configuration holds a secret in plain text
    ├── KeyUnusable                  13    no usable key where the configuration says it is
    ├── WrongKey                     14    the key does not open this repository
    ├── RepositoryMissing            15    nothing was initialised there
    ├── RepositoryForeign            16    another repository is there
    ├── FormatUnsupported            17    written by a newer pgvault
    ├── ProgramMissing               18    a PostgreSQL program was not found
    ├── ProgramFailed                19    a program we ran failed or ran too long
    ├── ServerUnreachable            20    no session with PostgreSQL, or it was lost
    ├── ServerUnfit                  21    the server's settings or grants do not allow it
    ├── MajorUnsupported             22    a PostgreSQL major we were not tested with
    ├── OtherCluster                 23    system identifier of another cluster
    ├── TargetTooEarly               24    before the oldest backup can reach
    ├── TargetTooLate                25    beyond what the archived WAL proves
    ├── WalGap                       26    WAL is missing between the backup and the target
    ├── TargetInvalid                27    a target that means nothing, or two things
    ├── ArchiveNotWorking            28    WAL does not arrive in the repository
    ├── SourceUnreadable             29    a file of the cluster could not be read
    ├── StoreUnreachable             30    the store does not answer
    ├── StoreDenied                  31    the store refuses our credentials
    ├── ObjectMissing                32    an object that must be there is not
    ├── WalMismatch                  33    a WAL file of this name is archived, with other content
    ├── ObjectCorrupt                34    stored bytes are not what was written
    ├── ObjectExists                 35    put-if-absent lost: the name is taken by other content
    ├── StoreUnfit                   36    the store can not decide (no put-if-absent)
    ├── VerifyFailed                 37    read back, and something is wrong
    ├── RecoveryFailed               38    PostgreSQL did not come up where it should
    ├── DiskFull                     39    no room for what was asked
    ├── AlreadyRunning               40    somebody else is at it
    ├── DirectoryNotEmpty            41    the target directory holds something
    ├── ClusterRunning               42    a server runs on that directory
    ├── Refused                      43    not without you saying so
    ├── DrillFailed                  50    restored, and not what was promised
    ├── ObjectiveMissed              51    an objective is broken
    ├── DrillNotRun                  52    the drill could not run: proves nothing either way
    └── CheckFailed                  53    a check of the live data failed

A message is one clause: lower case, subject first, values quoted, no full stop. A hint is a sentence.
No code exceeds 125: PostgreSQL's archiver takes a higher status for a signal and does not count the
failure. 77 is private to `wal fetch` (confirmed absent); the guard in restore_command makes it 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

WAL_ABSENT_EXIT = 77  # `wal fetch`: the plan, or the store, confirms that this file does not exist


class PgvaultError(Exception):
    """Something an operator must hear about. Subclasses fix the exit code."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """Return a sentence that names what was meant, with a space behind it; nothing where nothing is near."""
    from difflib import get_close_matches  # WAL commands, which import this module, have no use for it

    near = get_close_matches(wrong.lower(), known, n=1)
    return f"Did you mean {near[0]!r}? " if near else ""


class UsageError(PgvaultError):
    """The command line does not make sense."""

    exit_code = 2


class ConfigInvalid(PgvaultError):
    """The configuration is missing, unreadable, or a value in it is wrong."""

    exit_code = 10


class ConfigUnknownKey(PgvaultError):
    """The configuration holds a key that pgvault does not know; a typo must not be ignored."""

    exit_code = 11


class PlainSecret(PgvaultError):
    """A secret stands in the configuration itself instead of `file:` or `env:`."""

    exit_code = 12


class KeyUnusable(PgvaultError):
    """There is no key where the configuration says, or it is not 32 bytes."""

    exit_code = 13


class WrongKey(PgvaultError):
    """The key is well formed but opens no key slot of this repository."""

    exit_code = 14


class RepositoryMissing(PgvaultError):
    """There is no repository at that place."""

    exit_code = 15


class RepositoryForeign(PgvaultError):
    """There is a repository at that place, but not ours; or something that is no repository."""

    exit_code = 16


class FormatUnsupported(PgvaultError):
    """The bytes say that a newer pgvault wrote them."""

    exit_code = 17


class ProgramMissing(PgvaultError):
    """A PostgreSQL program of the needed major was not found."""

    exit_code = 18


class ProgramFailed(PgvaultError):
    """A program we ran exited non-zero or ran past its time."""

    exit_code = 19


class ServerUnreachable(PgvaultError):
    """No session with the PostgreSQL server, or the session was lost."""

    exit_code = 20


class ServerUnfit(PgvaultError):
    """The server's settings, grants or state do not allow what was asked."""

    exit_code = 21


class MajorUnsupported(PgvaultError):
    """A PostgreSQL major version that pgvault was not tested with."""

    exit_code = 22


class OtherCluster(PgvaultError):
    """The system identifier, or the WAL, is that of another cluster."""

    exit_code = 23


class TargetTooEarly(PgvaultError):
    """The target lies before what the oldest backup can reach."""

    exit_code = 24


class TargetTooLate(PgvaultError):
    """The target lies beyond what the archived WAL proves."""

    exit_code = 25


class WalGap(PgvaultError):
    """WAL is missing between the backup and the target."""

    exit_code = 26


class TargetInvalid(PgvaultError):
    """The recovery target means nothing, or could mean two things."""

    exit_code = 27


class ArchiveNotWorking(PgvaultError):
    """WAL that the server finished does not arrive in the repository."""

    exit_code = 28


class SourceUnreadable(PgvaultError):
    """A file of the cluster could not be read, or changed in a way it must not."""

    exit_code = 29


class StoreUnreachable(PgvaultError):
    """The store does not answer, or not in time, after retries."""

    exit_code = 30


class StoreDenied(PgvaultError):
    """The store refuses our credentials or our rights."""

    exit_code = 31


class ObjectMissing(PgvaultError):
    """The store confirms that an object is absent."""

    exit_code = 32


class WalMismatch(PgvaultError):
    """A WAL file of this name is archived already, with other content."""

    exit_code = 33


class ObjectCorrupt(PgvaultError):
    """Stored bytes are cut, changed, moved or swapped."""

    exit_code = 34


class ObjectExists(PgvaultError):
    """The name is taken, and by other content than ours."""

    exit_code = 35


class StoreUnfit(PgvaultError):
    """The store lacks what a deciding copy needs (put-if-absent)."""

    exit_code = 36


class VerifyFailed(PgvaultError):
    """Something stored was read back and is not whole."""

    exit_code = 37


class RecoveryFailed(PgvaultError):
    """PostgreSQL did not come up, or not where it should."""

    exit_code = 38


class DiskFull(PgvaultError):
    """There is no room for what was asked, or a write said so."""

    exit_code = 39


class AlreadyRunning(PgvaultError):
    """Another process holds what we need."""

    exit_code = 40


class DirectoryNotEmpty(PgvaultError):
    """The directory to restore into holds something."""

    exit_code = 41


class ClusterRunning(PgvaultError):
    """A server runs on the directory that was to be touched."""

    exit_code = 42


class Refused(PgvaultError):
    """A safety rule says no until the operator says otherwise."""

    exit_code = 43


class DrillFailed(PgvaultError):
    """The drill restored something that is not what was promised."""

    exit_code = 50


class ObjectiveMissed(PgvaultError):
    """An objective (RPO, RTO, age) is broken."""

    exit_code = 51


class DrillNotRun(PgvaultError):
    """The drill could not run; it proves nothing either way."""

    exit_code = 52


class CheckFailed(PgvaultError):
    """A check of the live data failed: they are wrong, or it could not be measured."""

    exit_code = 53
