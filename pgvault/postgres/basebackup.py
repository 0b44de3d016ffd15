r"""BASE_BACKUP: a whole cluster through one replication connection, as PostgreSQL 15 to 18 send it.

    ◄ result    start LSN, timeline
    ◄ result    tablespaces: oid, path
    ◄ COPY      n name\0 path\0    a tar archive begins: <oid>.tar of each tablespace, then base.tar
                d bytes            of that archive, or of the manifest; cut anywhere
                m                  the server's own manifest follows
                p number           progress
    ◄ result    end LSN, timeline
    ◄ end, or an error: pages with wrong checksums are one, and come last of all

Nothing is ever taken for an end but the end: a lost connection, a message of an unknown kind, a server that is silent
for too long are errors. The server waits when we do not read, so what is held here is one message.

`get_copy_data(0)` would wait with the interpreter's lock held; so it is asked without waiting, and `select` waits.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from select import select

import psycopg
from psycopg import pq

from pgvault.errors import ServerUnfit, ServerUnreachable, UsageError
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.replication import ServerAddress, connect_replication, explain_replication

logger = logging.getLogger(__name__)

SILENCE_SECONDS = 300.0  # while it copies; a server whose disk hangs that long is not backed up
START_SECONDS = 3600.0  # a fast checkpoint of a large server may write for long before the first byte comes
LOOK_SECONDS = 5.0
KIB = 1024
DATA_CORRUPTED = b"XX001"


@dataclass(frozen=True, slots=True)
class BaseBackupOrder:
    """What is asked of the server."""

    address: ServerAddress
    max_rate: int | None = None  # bytes a second; the server takes 32 KiB to 1 GiB
    silence_seconds: float = SILENCE_SECONDS

    def command(self, label: str) -> bytes:
        """Return the command. The server checks pages too: a bad one it reads again, as only it can."""
        quoted = label.replace("'", "''")
        options = [
            f"LABEL '{quoted}'",
            "CHECKPOINT 'fast'",
            "WAL false",
            "WAIT false",
            "TABLESPACE_MAP true",
            "VERIFY_CHECKSUMS true",
            "MANIFEST 'yes'",
            "MANIFEST_CHECKSUMS 'CRC32C'",
        ]
        if self.max_rate is not None:
            options.append(f"MAX_RATE {self.max_rate // KIB}")
        return f"BASE_BACKUP ({', '.join(options)})".encode()


@dataclass(frozen=True, slots=True)
class Position:
    """Where a backup starts or ends."""

    lsn: Lsn
    timeline: int


@dataclass(frozen=True, slots=True)
class Head:
    """What the server says before it sends anything."""

    start: Position
    tablespaces: dict[int, str]  # oid → where it lies at the server; relative: inside the data directory


@dataclass(frozen=True, slots=True)
class Tail:
    """What the server says when it has sent everything."""

    stop: Position
    has_bad_pages: bool  # the server saw wrong checksums


class Kind(Enum):
    """The kinds of messages that matter here, by their first byte."""

    ARCHIVE = b"n"
    DATA = b"d"
    MANIFEST = b"m"
    PROGRESS = b"p"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the COPY."""

    kind: Kind
    content: memoryview  # without the first byte; good until the next one is asked for


class BaseBackup:
    """One base backup under way: `start`, all `messages`, `end`; `close` whenever it is."""

    def __init__(self, order: BaseBackupOrder, *, look_after: Callable[[], None] = lambda: None) -> None:
        """Connect. `look_after` is called every few seconds while the server keeps us waiting, and may raise.

        Raises ServerUnreachable, ServerUnfit.
        """
        self._order = order
        self._look_after = look_after
        self._connection = connect_replication(order.address)
        self._connection.add_notice_handler(_log_notice)
        self._raw = self._connection.pgconn
        self._behind_copy: pq.abc.PGresult | None = None

    def close(self) -> None:
        """Hang up; a backup that has not ended is none, and the server gives it up."""
        self._connection.close()

    def start(self, label: str) -> Head:
        """Ask for the backup and return what the server says when its checkpoint is done."""
        try:
            self._raw.send_query(self._order.command(label))
            positions = self._rows(START_SECONDS)
            spaces = self._rows(START_SECONDS)
            copy = self._result(START_SECONDS)
        except psycopg.Error as error:
            raise explain_replication(error) from error
        if copy is None or copy.status != pq.ExecStatus.COPY_OUT:
            raise self._refused(copy)
        located = {int(row[0]): row[1] for row in spaces if row[0] is not None and row[1] is not None}
        return Head(
            _position(positions), {oid: path.decode("utf-8", "surrogateescape") for oid, path in located.items()}
        )

    def messages(self) -> Iterator[Message]:
        """Yield every message until the server ends its COPY. Raises ServerUnreachable, ServerUnfit."""
        try:
            while (message := self._next()) is not None:
                yield message
        except psycopg.Error as error:
            raise explain_replication(error) from error

    def end(self) -> Tail:
        """Return where the backup ended; after the last message. Raises ServerUnreachable, ServerUnfit."""
        try:
            return Tail(_position(self._rows_of(self._behind_copy)), has_bad_pages=self._drain())
        except psycopg.Error as error:
            raise explain_replication(error) from error

    def _next(self) -> Message | None:
        deadline: float | None = None
        while True:
            length, content = self._raw.get_copy_data(1)
            if length > 0:
                return _message(memoryview(content))
            if length < 0:
                # The end, or why the server stops in the middle: only what follows tells.
                self._behind_copy = self._result(self._order.silence_seconds)
                self._rows_of(self._behind_copy)
                return None
            if deadline is None:
                deadline = time.monotonic() + self._order.silence_seconds
            self._wait(deadline)

    def _wait(self, deadline: float) -> None:
        """Wait for bytes of the server. Raises ServerUnreachable when the deadline is over."""
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise ServerUnreachable(
                    "the server sends nothing more of its base backup",
                    hint="Its disk or the network hangs; nothing was listed. See the server's log.",
                )
            readable, _, _ = select([self._raw.socket], [], [], min(left, LOOK_SECONDS))
            if readable:
                self._raw.consume_input()
                return
            self._look_after()

    def _result(self, patience: float) -> pq.abc.PGresult | None:
        deadline = time.monotonic() + patience
        while self._raw.is_busy():
            self._wait(deadline)
        return self._raw.get_result()

    def _rows(self, patience: float) -> list[list[bytes | None]]:
        return self._rows_of(self._result(patience))

    def _rows_of(self, result: pq.abc.PGresult | None) -> list[list[bytes | None]]:
        if result is None or result.status != pq.ExecStatus.TUPLES_OK:
            raise self._refused(result)
        return [[result.get_value(row, column) for column in range(result.nfields)] for row in range(result.ntuples)]

    def _drain(self) -> bool:
        """Read what stands behind the end; return whether that was the complaint about pages."""
        has_bad_pages = False
        while (result := self._result(self._order.silence_seconds)) is not None:
            if result.status == pq.ExecStatus.COMMAND_OK:
                continue
            if result.error_field(pq.DiagnosticField.SQLSTATE) != DATA_CORRUPTED:
                raise self._refused(result)
            has_bad_pages = True
        return has_bad_pages

    def _refused(self, result: pq.abc.PGresult | None) -> ServerUnfit | ServerUnreachable:
        """Say why there is no backup."""
        if result is None:
            return ServerUnreachable("the server ended its base backup before it was whole")
        state = result.error_field(pq.DiagnosticField.SQLSTATE) or b""
        said = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or result.error_message
        text = (said or b"an answer that no base backup has").decode("utf-8", "backslashreplace").strip()
        hint = result.error_field(pq.DiagnosticField.MESSAGE_HINT)
        if not state or state[:2] in (b"08", b"53") or state[:3] == b"57P":
            return ServerUnreachable(f"the base backup was cut off: {text}")
        return ServerUnfit(
            f"PostgreSQL refuses a base backup: {text}", hint=None if hint is None else hint.decode("utf-8", "replace")
        )


class Parts:
    """The messages of a base backup, sorted into archives and the server's manifest."""

    def __init__(self, messages: Iterator[Message]) -> None:
        self._messages = messages
        self._ahead: Message | None = None

    def next_archive(self) -> str | None:
        """Return the name of the archive that begins, None where the manifest does. Raises ServerUnfit."""
        message = self._take()
        if message is None or message.kind is Kind.DATA:
            raise ServerUnfit("the server sends no archive where one should begin")
        if message.kind is Kind.MANIFEST:
            return None
        name, separator, _ = bytes(message.content).partition(b"\0")
        if not separator:
            raise ServerUnfit("the server sends an archive without a name")
        return name.decode("utf-8", "backslashreplace")

    def chunks(self) -> Iterator[memoryview]:
        """Yield the bytes of the archive, or the manifest, that has begun; each good until the next one."""
        while (message := self._take()) is not None:
            if message.kind is not Kind.DATA:
                self._ahead = message
                return
            yield message.content

    def require_end(self) -> None:
        """See that nothing follows. Raises ServerUnfit."""
        if self._take() is not None:
            raise ServerUnfit("the server sends more behind its manifest")

    def _take(self) -> Message | None:
        if self._ahead is not None:
            message, self._ahead = self._ahead, None
            return message
        return next((message for message in self._messages if message.kind is not Kind.PROGRESS), None)


def _message(content: memoryview) -> Message:
    try:
        kind = Kind(bytes(content[:1]))
    except ValueError:
        raise ServerUnfit(
            f"the server sends a message of kind {bytes(content[:1])!r}, which no base backup has"
        ) from None
    return Message(kind, content[1:])


def _position(rows: list[list[bytes | None]]) -> Position:
    if rows and None not in rows[0][:2]:
        lsn, timeline = (value.decode() for value in rows[0][:2] if value is not None)
        with suppress(ValueError, UsageError):
            return Position(Lsn.parse(lsn), int(timeline))
    raise ServerUnfit("the server does not say where its base backup begins or ends")


def _log_notice(notice: psycopg.errors.Diagnostic) -> None:
    log = logger.warning if notice.severity_nonlocalized == "WARNING" else logger.debug
    log("server: %s", notice.message_primary)
