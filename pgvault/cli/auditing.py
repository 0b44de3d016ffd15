"""Commands leave an entry in the audit chain of this host: what, by whom, from where, how it ended.

    with recording(book_of(opened), "backup") as event:
        manifest = take_backup(…)
        event.details.update(label=manifest.label)

The entry is written at the end, ok or failed. What can not be taken back is written down before it is done, too, as
"began". Only what removes something, or changes who can read it, is refused (43) when that can not be stored; a backup,
a restore or a drill never fails for want of an entry: it is told in one line.

A process that is killed leaves what it began, or nothing. A repository that is named by its URL gets no entry: nobody
here knows whether that copy is the one that decides, and a chain must not grow in two places. Nor does one that was
opened to be read, without the deciding copy: then a drill touches nothing else, and a restore waits for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import typer

from pgvault.audit.chain import append
from pgvault.audit.entry import Entry
from pgvault.audit.signer import SigningKey, read_or_make
from pgvault.cli import render
from pgvault.cli.opening import OpenedCluster
from pgvault.cli.origin import find_origin
from pgvault.config.audit import AuditConfig, default_key_file
from pgvault.errors import PgvaultError, Refused, StoreUnreachable
from pgvault.instants import SystemClock
from pgvault.monitor.tried import Finding
from pgvault.repository.repository import Repository
from pgvault.stores.retry import Overdue, within

PATIENCE_SECONDS = 20.0  # for an entry, whatever the store's own patience is
LEAST_SECONDS = 5.0  # where the store did not answer just now
INTERRUPTED = "it was told to end"
BY_URL = "the repository was named by its URL, and may not be the copy that decides"
KEY_HINT = "Name a key that this host signs with: audit: {key: file:PATH} or {key: env:NAME}."


class Need(Enum):
    """How much a command depends on its entry."""

    AFTER = "one entry, at the end"
    BEFORE = "one before it begins, too, if that can be stored"
    REQUIRED = "one before it begins, or it does not begin"


@dataclass(frozen=True, slots=True)
class Book:
    """Where entries go, and about what."""

    repository: Repository
    config: AuditConfig
    cluster: str | None = None
    is_by_url: bool = False


def _warn(why: str) -> None:
    render.write_warning(f"not recorded in the audit chain: {why}", None)


@dataclass(slots=True)
class Event:
    """What a command says of itself while it runs."""

    what: str
    details: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    exit_code: int | None = None
    entry: Entry | None = None  # once it is written
    tell: Callable[[str], object] = _warn  # why it could not be written

    def fail(self, error: BaseException) -> None:
        """Say how it failed: of what nobody expected only the kind, since nobody knows what else its text holds."""
        match error:
            case PgvaultError():
                self.error, self.exit_code = str(error), error.exit_code
            case SystemExit(code=int(code)):
                self.error, self.exit_code = INTERRUPTED, code
            case SystemExit() | KeyboardInterrupt() | typer.Abort():
                self.error, self.exit_code = INTERRUPTED, PgvaultError.exit_code
            case _:
                self.error, self.exit_code = type(error).__name__, PgvaultError.exit_code

    def judge(self, verdict: Callable[[], object]) -> None:
        """Take what a verdict raises for how it ended; whoever shows the result raises it afterwards."""
        try:
            verdict()
        except PgvaultError as error:
            self.fail(error)


def book_of(opened: OpenedCluster) -> Book:
    """Return where what is done to a cluster is recorded."""
    return Book(opened.repository, opened.audit, opened.name, opened.source.url is not None)


@contextmanager
def recording(
    book: Book, what: str, *, need: Need = Need.AFTER, asked: Mapping[str, Any] | None = None
) -> Iterator[Event]:
    """Record what is done inside; `asked` is known before. Raises Refused where that may not be done unrecorded."""
    event = Event(what, dict(asked or {}))
    if need is not Need.AFTER:
        _begin(book, event, need)
    try:
        yield event
    except BaseException as error:
        event.fail(error)
        _end(book, event, limit=LEAST_SECONDS if isinstance(error, StoreUnreachable) else PATIENCE_SECONDS)
        raise
    _end(book, event, limit=PATIENCE_SECONDS)


def signing_key(config: AuditConfig) -> SigningKey:
    """Return the key that this host signs with: the configured one, else its own, made now where there is none.

    Raises KeyUnusable.
    """
    if config.key is None:
        return read_or_make(default_key_file())
    return SigningKey.decode(config.key.read(), where=str(config.key))


def write_entry(book: Book, event: Event, result: str, *, limit: float = PATIENCE_SECONDS) -> Entry:
    """Put one entry behind the end of this host's chain. Raises why that was not done."""
    if book.is_by_url:
        raise Refused(BY_URL)
    if book.repository.unwritable is not None:
        raise book.repository.unwritable
    document: dict[str, Any] = {"what": event.what, "result": result, "cluster": book.cluster, "by": find_origin()}
    if event.error is not None:
        document |= {"error": event.error, "exit_code": event.exit_code}
    document["details"] = event.details
    key = signing_key(book.config)
    try:
        return within(limit, lambda: append(book.repository, document, key=key, at=SystemClock().now()))
    except Overdue as error:
        raise StoreUnreachable(f"{error}: copy {book.repository.copies[0].name!r}") from error


def _begin(book: Book, event: Event, need: Need) -> None:
    try:
        write_entry(book, event, "began")
    except PgvaultError as error:
        # That it could not be written is told at the end, once.
        if need is Need.REQUIRED and not book.is_by_url:
            raise Refused(
                f"not begun: {event.what} can not be taken back, and can not be recorded: {error}",
                hint=error.hint or KEY_HINT,
            ) from error


def _end(book: Book, event: Event, *, limit: float) -> None:
    try:
        event.entry = write_entry(book, event, "ok" if event.error is None else "failed", limit=limit)
    except PgvaultError as error:
        event.tell(str(error))


def audit_finding(config: AuditConfig) -> Finding:
    """Say, for `check`, by which key this host signs, or that it can not."""
    try:
        key = signing_key(config)
    except PgvaultError as error:
        lost = "no command here leaves an entry in the audit chain, and those that remove something are refused"
        return Finding("audit", f"{error}: {lost}", warning=KEY_HINT)
    where = default_key_file() if config.key is None else config.key
    return Finding("audit", f"entries are signed by {key.public} ({where})")
