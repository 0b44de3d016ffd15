"""What pg_restore complains of, where one complaint means nothing.

From 17 on it sets transaction_timeout in every session, which a server before 17 does not know. With --exit-on-error
that alone would end it. So there it is run without, and here its log is read as it grows: whatever else goes wrong ends
it as --exit-on-error would, and at the end there is no complaint but those that mean nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pgvault.errors import ProgramFailed
from pgvault.logical.select import printable
from pgvault.process import Leashed

FIRST_MAJOR = 17
# The server's own words may be of any language; these are pg_restore's, which is asked in English.
MEANINGLESS = re.compile(rb"^Command was: SET transaction_timeout = 0;$", re.MULTILINE)
# Several processes write into one log, each line in pieces: whole pieces are counted, not lines.
COMPLAINT = re.compile(rb"\berror: ")
COUNTED = re.compile(rb"warning: errors ignored on restore: ([0-9]+)")

BEGINNING = re.compile(rb"^(?=pg_restore: (?:while|error: ))", re.MULTILINE)
QUOTED_BYTES = 1000


def is_setting_unknown(program_major: int, server_major: int) -> bool:
    """Tell whether pg_restore sets what the server does not know."""
    return server_major < FIRST_MAJOR <= program_major


@dataclass(slots=True)
class Complaints:
    """The complaints of one run."""

    log: Path
    start: int = 0  # where this run's begin in it
    _size: int = 0
    _was_other: bool = False

    def require_meaningless(self, program: Leashed) -> None:
        """Raise ProgramFailed when something went wrong that means something. Asked again and again."""
        size = self.log.stat().st_size
        if size == self._size and not self._was_other:
            return
        complaints, meaningless = _counts(self._read())
        is_other = complaints != meaningless
        if is_other and self._was_other and size == self._size:  # else it is in the middle of a line
            raise ProgramFailed(f"pg_restore failed{_first_other(self._read()) or program.words()}")
        self._size, self._was_other = size, is_other

    def check(self, program: Leashed) -> None:
        """Raise ProgramFailed unless the program has ended well, but for what means nothing."""
        content = self._read()
        complaints, meaningless = _counts(content)
        counted = COUNTED.search(content)  # its workers' beginnings are not
        if complaints != meaningless or (counted is not None and int(counted[1]) > meaningless):
            raise ProgramFailed(f"pg_restore failed{_first_other(self._read()) or program.words()}")
        if not (program.poll() == 1 and counted is not None):
            program.check()

    def _read(self) -> bytes:
        return self.log.read_bytes()[self.start :]


def _counts(content: bytes) -> tuple[int, int]:
    return len(COMPLAINT.findall(content)), len(MEANINGLESS.findall(content))


def _first_other(content: bytes) -> str:
    """The first complaint that means something, as one clause; those after it often follow from it."""
    for piece in BEGINNING.split(content):
        if COMPLAINT.search(piece) and not MEANINGLESS.search(piece):
            lines = piece[:QUOTED_BYTES].decode("utf-8", "replace").split("\n")
            return ": " + "; ".join(printable(line.strip()) for line in lines if line.strip())
    return ""
