"""Commands leave entries; which of them go on without one, and which do not begin."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer

from pgvault.audit.chain import entry_at, next_number, signers
from pgvault.audit.signer import SigningKey
from pgvault.cli import auditing
from pgvault.cli.auditing import Book, Need, audit_finding, recording
from pgvault.config import Secret
from pgvault.config.audit import AuditConfig, default_key_file
from pgvault.errors import Refused, StoreUnreachable, WalGap
from pgvault.monitor.finding import Level
from pgvault.repository.copies import Copy, LeftOut
from pgvault.repository.keys import Credential
from pgvault.repository.repository import Repository, init_repository
from tests.fakes import MemoryStore

NOW = datetime(2026, 1, 15, tzinfo=UTC)
NO_KEY = AuditConfig(key=Secret(source="env", name="NO_SUCH_VARIABLE"))


class Silent(MemoryStore):
    """A store that takes its time once it is told to."""

    seconds = 0.0

    def children(self, prefix: str) -> list[str]:
        time.sleep(self.seconds)
        return super().children(prefix)


@pytest.fixture
def store() -> Silent:
    return Silent()


@pytest.fixture
def repository(store: Silent) -> Repository:
    return init_repository([Copy("primary", store)], Credential("raw", bytes(32)), now=NOW)[0]


@pytest.fixture
def book(repository: Repository, tmp_path: Path) -> Book:
    key = tmp_path / "audit.key"
    key.write_bytes(SigningKey.generate().encode())
    return Book(repository, AuditConfig(key=Secret(source="file", name=str(key))), "main")


def told(repository: Repository) -> list[tuple[str, str, str | None]]:
    """What every entry says: what, how it ended, why."""
    entries = [entry_at(repository, s, n) for s in signers(repository) for n in range(next_number(repository, s))]
    return [(e.event["what"], e.event["result"], e.event.get("error")) for e in entries]


def test_what_ended_well(book: Book) -> None:
    """One entry, with who and what was said meanwhile."""
    with recording(book, "backup", asked={"type": "full"}) as event:
        event.details["label"] = "L"

    assert told(book.repository) == [("backup", "ok", None)]
    assert event.entry is not None
    assert event.entry.event["cluster"] == "main"
    assert event.entry.event["details"] == {"type": "full", "label": "L"}
    assert event.entry.event["by"]["pid"]


@pytest.mark.parametrize(
    ("error", "text", "status"),
    [
        (WalGap("WAL is missing"), "WAL is missing", 26),
        (KeyboardInterrupt(), "it was told to end", 1),
        (typer.Abort(), "it was told to end", 1),
        (SystemExit(52), "it was told to end", 52),
        (ValueError("canary"), "ValueError", 1),
    ],
)
def test_what_failed(book: Book, error: BaseException, text: str, status: int) -> None:
    """The error, and the exit code; of what nobody expected only its kind."""
    with pytest.raises(type(error)), recording(book, "backup") as event:
        raise error

    assert told(book.repository) == [("backup", "failed", text)]
    assert event.entry is not None
    assert event.entry.event["exit_code"] == status


def test_what_is_judged_failed_without_an_error_now(book: Book) -> None:
    """A drill shows its report first."""

    def verdict() -> None:
        raise WalGap("it is not there")

    with recording(book, "drill") as event:
        event.judge(verdict)

    assert told(book.repository) == [("drill", "failed", "it is not there")]


def test_what_can_not_be_taken_back_is_written_down_before(book: Book) -> None:
    """Whatever becomes of it then, also a kill."""
    with recording(book, "release", need=Need.REQUIRED):
        assert told(book.repository) == [("release", "began", None)]

    assert told(book.repository) == [("release", "began", None), ("release", "ok", None)]


def test_without_a_key_removals_do_not_begin(repository: Repository) -> None:
    """43, with the way out; nothing was done."""
    with (
        pytest.raises(Refused, match="can not be recorded") as raised,
        recording(Book(repository, NO_KEY), "release", need=Need.REQUIRED),
    ):
        pytest.fail("it began")

    assert raised.value.hint is not None
    assert raised.value.hint.startswith("Set it where pgvault is started")


@pytest.mark.parametrize("need", [Need.AFTER, Need.BEFORE])
def test_without_a_key_the_others_go_on(repository: Repository, need: Need, capsys: pytest.CaptureFixture[str]) -> None:
    """A restore is more than its entry: one line says that there is none."""
    with recording(Book(repository, NO_KEY), "restore", need=need) as event:
        pass

    assert event.entry is None
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "warning: not recorded in the audit chain: environment variable 'NO_SUCH_VARIABLE' is not set"


def test_nothing_is_written_without_the_deciding_copy(
    book: Book, store: Silent, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor is it waited for."""
    store.seconds = 60.0
    blind = replace(book.repository, left_out=(LeftOut("primary", StoreUnreachable("away"), is_deciding=True),))

    with recording(replace(book, repository=blind), "restore"):
        pass

    assert "nothing can be written without copy 'primary'" in capsys.readouterr().err


def test_a_repository_named_by_url_gets_no_entry(book: Book, capsys: pytest.CaptureFixture[str]) -> None:
    """It may be a copy that does not decide: the chain would grow in two places."""
    with recording(replace(book, is_by_url=True), "verify", need=Need.REQUIRED):
        pass

    assert told(book.repository) == []
    assert auditing.BY_URL in capsys.readouterr().err


def test_a_store_that_does_not_answer_is_not_waited_for(
    book: Book, store: Silent, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever its own patience is."""
    monkeypatch.setattr(auditing, "LEAST_SECONDS", 0.2)
    store.seconds = 30.0
    began = time.monotonic()

    with pytest.raises(StoreUnreachable), recording(book, "backup"):
        raise StoreUnreachable("copy 'primary' does not answer")

    assert time.monotonic() - began < 15
    assert "no answer within 0 s" in capsys.readouterr().err


def test_check_says_by_which_key(book: Book) -> None:
    """And warns where there is none, with what to write."""
    good, bad = audit_finding(book.config), audit_finding(NO_KEY)

    assert (good.level, bad.level) == (Level.OK, Level.WARN)
    assert "ed25519:" in good.detail
    assert bad.warning == auditing.KEY_HINT


def test_a_host_makes_its_own_key(repository: Repository, state_home: Path) -> None:
    """Below the state directory, for its user alone."""
    with recording(Book(repository, AuditConfig()), "backup") as event:
        pass

    assert event.entry is not None
    assert default_key_file().is_relative_to(state_home)
    assert default_key_file().stat().st_mode & 0o777 == 0o600


def test_a_user_who_has_no_home(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's user need not be in any table: a backup is one all the same, and expire says which key to name."""
    for name in ("HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    book = Book(repository, AuditConfig(), "main")

    with recording(book, "backup") as event:
        pass

    assert event.entry is None
    assert "user 54321 has no home directory" in audit_finding(AuditConfig()).detail
    with (
        pytest.raises(Refused, match="user 54321 has no home directory"),
        recording(book, "expire", need=Need.REQUIRED),
    ):
        pass
