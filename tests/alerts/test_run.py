"""A look made known through a repository that is there, is not there, or takes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from threading import Barrier, Thread

import pytest

from pgvault.alerts.memory import Memory
from pgvault.alerts.message import Voice
from pgvault.alerts.plan import Sending
from pgvault.alerts.receivers import Parcel, Receiver
from pgvault.alerts.run import Notified, Notifier, notify, ping
from pgvault.errors import PgvaultError, StoreUnreachable
from pgvault.monitor.finding import Level, ok, red
from pgvault.monitor.notifier import look_at_notifier
from pgvault.repository import layout
from pgvault.repository.leases import Terms
from pgvault.repository.notices import put_notice, read_newest
from pgvault.repository.repository import Repository
from pgvault.repository.who import Holder, this_process
from pgvault.stores.retry import Patience
from tests.alerts.samples import GAP, NOW, after, alerts, look, router, voice
from tests.alerts.sinks import WebSink, serving
from tests.archive import Archive, make_archive

PATIENCE = Patience(deadline_seconds=0.0, first_wait_seconds=0.0, longest_wait_seconds=0.01)
GONE = StoreUnreachable("the store does not answer")


@dataclass
class Ear:
    """A receiver in memory."""

    heard: list[tuple[str, str]] = field(default_factory=list)
    is_dead: bool = False
    has_incidents: bool = False

    def parcels(self, sendings: Sequence[Sending]) -> list[Parcel]:
        return [sendings]

    def send(self, parcel: Parcel, voice: Voice) -> None:
        if self.is_dead:
            raise StoreUnreachable("answered 500")
        self.heard += [(str(each.event), each.alert.key) for each in parcel]


@dataclass
class Host:
    """A host with a notifier."""

    notifier: Notifier
    pager: Ear
    slack: Ear

    def look(self, repository: Repository | PgvaultError, *findings: object, at: datetime = NOW) -> Notified:
        return notify(look(*findings, at=at), self.notifier, repository)  # type: ignore[arg-type]


def make_host(directory: Path, name: str = "a", *, ears: tuple[Ear, Ear] | None = None) -> Host:
    pager, slack = ears or (Ear(), Ear())
    known: dict[str, Receiver] = {"pager": pager, "slack": slack}
    terms = Terms(ttl_seconds=2.0)
    told = Notifier(voice(), known, Memory(directory / f"{name}.json"), patience=PATIENCE, terms=terms)
    return Host(told, pager, slack)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return make_archive(tmp_path)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return make_host(tmp_path)


def notices(archive: Archive) -> list[str]:
    return archive.repository.deciding.store.children(layout.NOTICES)


def test_told_once_by_whatever_host(archive: Archive, tmp_path: Path, host: Host) -> None:
    """The second host knows from the repository what the first has told, and tells its end."""
    other = make_host(tmp_path, "b")

    host.look(archive.repository, GAP)
    other.look(archive.repository, GAP, at=after(minutes=1))
    other.look(archive.repository, at=after(minutes=2))
    host.look(archive.repository, at=after(minutes=3))

    assert host.pager.heard == [("trigger", "main/gap")]
    assert other.pager.heard == [("resolve", "main/gap")]


def test_two_at_once_tell_once(archive: Archive, tmp_path: Path) -> None:
    """The lease decides, and what the newest notice says under it."""
    ears = (Ear(), Ear())
    hosts = [make_host(tmp_path, name, ears=ears) for name in "abc"]
    start = Barrier(len(hosts))
    found: list[Notified] = []

    def run(each: Host) -> None:
        start.wait()
        found.append(each.look(archive.repository, GAP))

    threads = [Thread(target=run, args=(each,)) for each in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert ears[0].heard == [("trigger", "main/gap")]
    assert len(found) == len(hosts)


def test_what_another_told_meanwhile_is_not_told_again(archive: Archive, tmp_path: Path, host: Host) -> None:
    """Planned before the lease was taken, and again when it is: the other was faster, and has ended."""
    faster = make_host(tmp_path, "faster")

    def interrupted(command: str) -> Holder:
        faster.look(archive.repository, GAP)
        return this_process(command)

    terms = replace(host.notifier.terms, who=interrupted)
    host.notifier = replace(host.notifier, terms=terms)

    host.look(archive.repository, GAP, at=after(seconds=1))

    assert (faster.pager.heard, host.pager.heard) == ([("trigger", "main/gap")], [])


def test_a_quiet_look_writes_nothing_but_the_hourly_notice(archive: Archive, host: Host) -> None:
    """The notice by which `status` knows that somebody watches."""
    host.look(archive.repository, ok("backup", "now"))
    first = notices(archive)
    leases = archive.repository.deciding.store.children(layout.lease_series("alerts"))
    host.look(archive.repository, ok("backup", "now"), at=after(minutes=59))
    quiet = notices(archive)
    assert archive.repository.deciding.store.children(layout.lease_series("alerts")) == leases
    host.look(archive.repository, ok("backup", "now"), at=after(minutes=61))

    assert len(first) == len(quiet) == 1
    assert len(notices(archive)) == 2
    assert look_at_notifier(archive.repository, "main", now=after(minutes=70)).level is Level.OK
    assert look_at_notifier(archive.repository, "main", now=after(hours=4)).level is Level.RED
    assert look_at_notifier(archive.repository, "other", now=after(minutes=70)).level is Level.RED


def test_an_outage_of_the_repository_is_told_once(archive: Archive, host: Host) -> None:
    """By what this host remembers; when the repository is back, it learns of it, and the end is told once."""
    gone = red("repository", "the store does not answer")

    host.look(archive.repository, GAP)
    during = [host.look(GONE, gone, at=after(minutes=each)) for each in (1, 2, 3)]
    back = host.look(archive.repository, GAP, at=after(minutes=4))
    host.look(archive.repository, GAP, at=after(minutes=5))

    assert host.pager.heard == [("trigger", "main/gap"), ("trigger", "main/repository"), ("resolve", "main/repository")]
    assert [each.is_recorded for each in during] == [False] * 3
    assert back.is_recorded


def test_a_repository_that_takes_nothing_is_told_once(archive: Archive, host: Host) -> None:
    """It can be read, and neither lease nor notice can be stored: the same."""
    (archive.root / layout.NOTICES).write_text("a file where a directory should be")

    host.look(archive.repository, GAP)
    host.look(archive.repository, GAP, at=after(minutes=1))

    assert host.pager.heard == [("trigger", "main/gap")]


def test_without_any_memory_it_is_told_each_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Rather than never; it says why. A service remembers by itself."""
    (tmp_path / "file").write_text("")
    at = tmp_path / "file" / "deep"
    first, second = make_host(at), make_host(at)

    first.look(GONE, red("repository", "gone"))
    first.look(GONE, red("repository", "gone"), at=after(minutes=1))
    second.look(GONE, red("repository", "gone"), at=after(minutes=2))

    assert first.pager.heard == second.pager.heard == [("trigger", "main/repository")]
    assert "can not be written" in caplog.text


def test_a_dead_receiver_is_tried_again_and_known_to_status(archive: Archive, host: Host) -> None:
    """Nobody heard, so the notifier does not count as alive, and the error is told; a notice each minute it is not."""
    host.pager.is_dead = True
    found = [host.look(archive.repository, GAP, at=after(minutes=each)) for each in range(5)]
    dead = look_at_notifier(archive.repository, "main", now=after(minutes=5))
    kept = len(notices(archive))
    host.pager.is_dead = False
    host.look(archive.repository, GAP, at=after(minutes=6))

    assert [each.is_alive for each in found] == [False] * 5
    assert dead.level is Level.RED
    assert "receiver 'pager': answered 500" in dead.detail
    assert kept == 1
    assert host.pager.heard == [("trigger", "main/gap")]
    assert look_at_notifier(archive.repository, "main", now=after(minutes=7)).level is Level.OK


def test_one_dead_receiver_of_two_is_a_warning(archive: Archive, tmp_path: Path) -> None:
    """Somebody heard; status says who did not."""
    host = make_host(tmp_path)
    both = router(alerts(routes={"red": ["pager", "slack"]}))
    host.notifier = replace(host.notifier, voice=replace(host.notifier.voice, router=both))
    host.pager.is_dead = True

    found = host.look(archive.repository, GAP)

    judged = look_at_notifier(archive.repository, "main", now=after(minutes=5))
    assert found.is_alive
    assert (judged.level, host.slack.heard) == (Level.WARN, [("trigger", "main/gap")])
    with pytest.raises(StoreUnreachable, match="receiver 'pager': answered 500"):
        found.require_told()


def test_clocks_of_two_hosts_may_differ(archive: Archive, tmp_path: Path, host: Host) -> None:
    """What a slow clock writes comes behind what a fast one wrote."""
    slow = make_host(tmp_path, "slow")

    host.look(archive.repository, GAP, at=after(hours=3))
    slow.look(archive.repository, at=NOW)
    host.look(archive.repository, at=after(hours=3, minutes=1))

    assert host.pager.heard == [("trigger", "main/gap")]
    assert slow.pager.heard == [("resolve", "main/gap")]


def test_notices_go_after_a_week_and_the_newest_never(archive: Archive) -> None:
    """However long nobody wrote one."""
    document: dict[str, object] = {"looked_at": {}, "errors": {}, "alerts": []}
    for days in (0, 1, 2):
        put_notice(archive.repository, document, now=after(days=days))
    assert len(notices(archive)) == 3

    put_notice(archive.repository, document, now=after(days=8, minutes=1))
    assert len(notices(archive)) == 2
    newest = put_notice(archive.repository, document, now=after(days=300))

    assert notices(archive) == [newest]
    found = read_newest(archive.repository)
    assert found is not None
    assert found["id"] == newest


@pytest.fixture
def web() -> Iterator[WebSink]:
    with serving(WebSink()) as sink:
        yield sink


def test_the_dead_mans_switch_is_asked(web: WebSink, tmp_path: Path) -> None:
    """By its address, which is a secret; a failure says nothing of it."""
    secret = tmp_path / "ping"
    secret.write_text(f"{web.url}/0badcafe-feed\n")
    asked = router(alerts(ping=f"file:{secret}"))
    notifier = make_host(tmp_path).notifier
    notifier = replace(notifier, voice=replace(notifier.voice, router=asked))

    assert ping(notifier) is None
    web.is_dead = True
    failed = ping(notifier)

    assert web.asked == ["/0badcafe-feed"]
    assert str(failed) == "answered 500"


def test_notices_that_are_gone_or_spoilt_are_replaced(archive: Archive, host: Host) -> None:
    """This host knows what it told: nothing is told twice, its end is told, and status is red until then."""
    store = archive.repository.deciding.store
    host.look(archive.repository, GAP)
    (first,) = notices(archive)

    store.delete(layout.notice(first))
    host.look(archive.repository, GAP, at=after(minutes=1))
    (second,) = notices(archive)
    (archive.root / layout.notice(second)).write_bytes(b"spoilt")
    judged = look_at_notifier(archive.repository, "main", now=after(minutes=2))
    host.look(archive.repository, at=after(minutes=2))

    assert judged.level is Level.RED
    assert host.pager.heard == [("trigger", "main/gap"), ("resolve", "main/gap")]
    assert look_at_notifier(archive.repository, "main", now=after(minutes=3)).level is Level.OK


def test_a_clock_that_was_years_ahead(archive: Archive, host: Host) -> None:
    """Once it is right again: a dead notifier is red, a living one says so, and red is told again."""
    host.look(archive.repository, GAP, at=after(days=700))
    dead = look_at_notifier(archive.repository, "main", now=NOW)

    host.look(archive.repository, GAP, at=NOW)

    assert dead.level is Level.RED
    assert look_at_notifier(archive.repository, "main", now=after(minutes=1)).level is Level.OK
    assert host.pager.heard == [("trigger", "main/gap"), ("repeat", "main/gap")]


def test_a_clock_put_back_an_hour_writes_no_more(archive: Archive, host: Host) -> None:
    """Nothing is told twice, and no notice left at each look."""
    host.look(archive.repository, GAP, at=after(minutes=59))
    for minute in range(5):
        host.look(archive.repository, GAP, at=after(minutes=minute))

    assert host.pager.heard == [("trigger", "main/gap")]
    assert len(notices(archive)) == 1
