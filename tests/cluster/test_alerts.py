"""Alerts of a real server, by the commands as cron runs them, to receivers that are there."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from pgvault.errors import AlreadyRunning, CheckFailed, ObjectiveMissed, StoreUnreachable
from pgvault.instants import iso
from pgvault.process import Finished, start
from pgvault.repository import layout
from pgvault.repository.notices import put_notice, read_newest
from tests.alerts.sinks import WebSink, serving
from tests.archive import program
from tests.cli.here import pgvault, pgvault_json
from tests.cluster.places import Place, make_place
from tests.servers import NEWEST, ServerFactory
from tests.wal.servers import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]

TOKEN = "T0001/B0002/XXsecretXX"
CHECKS = [
    {
        "name": "orphaned_orders",
        "query": "SELECT count(*) FROM orders WHERE customer IS NULL",
        "threshold": 0,
        "severity": "critical",
        "action": "page_oncall",
    },
    {
        "name": "emails_used_twice",
        "query": "SELECT email FROM customers GROUP BY email HAVING count(*) > 1",
        "threshold": 0,
        "severity": "high",
        "action": "alert_slack",
    },
]


@pytest.fixture(scope="module")
def place(servers: ServerFactory, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A shop that archives and was backed up."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    made = make_place(servers, tmp_path_factory.mktemp("alerts"), NEWEST)
    made.server.sql("ALTER SYSTEM SET archive_timeout = '60s'")
    made.server.sql("SELECT pg_reload_conf()")
    made.server.sql("CREATE TABLE orders AS SELECT id, 1 AS customer FROM generate_series(1, 9) id")
    made.server.sql("CREATE TABLE customers AS SELECT id, 'mail-of-' || id AS email FROM generate_series(1, 9) id")
    made.back_up()
    return made


@pytest.fixture
def web() -> Iterator[WebSink]:
    """Of whom the pager is the one that fails: others may have something to tell at the same time."""
    with serving(WebSink()) as sink:
        sink.answering = "/v2/enqueue"
        yield sink


@pytest.fixture
def config(place: Place, web: WebSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shop's checks; a pager, a chat and a dead man's switch. Nothing is wrong, and nothing was told yet."""
    break_orders(place, is_broken=False)
    break_emails(place, is_broken=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    store = place.archive.repository.deciding.store
    for label in store.children(layout.NOTICES):
        store.delete(layout.notice(label))
    secrets = {
        "pager": "ROUTINGKEYXXsecretXX",
        "slack": f"{web.url}/services/{TOKEN}",
        "ping": f"{web.url}/ping/{TOKEN}",
    }
    for name, secret in secrets.items():
        (tmp_path / name).write_text(secret)
    document = yaml.safe_load(place.archive.config.read_text())
    document["clusters"]["main"] = {"dsn": place.server.dsn, "checks": CHECKS}
    document["alerts"] = {
        "receivers": {
            "pager": {"pagerduty": f"file:{tmp_path}/pager", "endpoint": f"{web.url}/v2/enqueue"},
            "slack": {"webhook": f"file:{tmp_path}/slack"},
        },
        "routes": {"page_oncall": "pager", "alert_slack": "slack"},
        "default": "slack",
        "ping": f"file:{tmp_path}/ping",
    }
    path = tmp_path / "pgvault.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def break_orders(place: Place, *, is_broken: bool) -> None:
    place.server.sql(f"UPDATE orders SET customer = {'NULL' if is_broken else '1'} WHERE id = 3")


def break_emails(place: Place, *, is_broken: bool) -> None:
    place.server.sql(f"UPDATE customers SET email = {'$$mail-of-5$$' if is_broken else '$$mail-of-4$$'} WHERE id = 4")


def run_checks(config: Path, *, status: int) -> Finished:
    """Run the checks, in a second of its own: which of two runs of one second is the newer, their names do not tell."""
    began = int(time.time())
    wait_until(lambda: int(time.time()) > began)
    finished = pgvault("--config", config, "checks", "run", "--live")
    assert finished.status == status, finished
    return finished


def paged(web: WebSink) -> list[str]:
    return [body["event_action"] for body in web.bodies("/v2/enqueue")]


def chats(web: WebSink) -> list[str]:
    return [body["text"] for body in web.bodies(f"/services/{TOKEN}")]


def at_once(config: Path, tmp_path: Path, count: int) -> list[int]:
    """Let several processes look at the same time; return how they ended."""
    words: list[str | Path] = [*program(), "--config", config, "alert", "run"]
    # Each is a host of its own as far as memory goes: only the repository is common.
    names = [f"host-{number}" for number in range(count)]
    environments = [{"PATH": os.environ["PATH"], "XDG_STATE_HOME": str(tmp_path / name)} for name in names]
    running = [
        start(words, env=each, log=tmp_path / f"{name}.log") for name, each in zip(names, environments, strict=True)
    ]
    return [each.wait(120) for each in running]


def test_page_oncall_pages_once_and_is_resolved(place: Place, web: WebSink, config: Path, tmp_path: Path) -> None:
    """A check with that action fails: one incident, whoever looks, and closed when the data are right again."""
    break_orders(place, is_broken=True)
    break_emails(place, is_broken=True)

    failed = run_checks(config, status=CheckFailed.exit_code)
    at_the_run = (paged(web), len(chats(web)))
    ended = at_once(config, tmp_path, 2)

    assert at_the_run == (["trigger"], 1)
    # One may find the other at it, and leaves the telling to it.
    assert sorted(ended) in ([0, 0], [0, AlreadyRunning.exit_code]), [
        (tmp_path / f"host-{number}.log").read_text() for number in range(2)
    ]
    assert paged(web) == ["trigger"]
    (event,) = web.bodies("/v2/enqueue")
    assert event["dedup_key"].endswith("/main/check/check=orphaned_orders/where=live")
    assert event["payload"]["custom_details"]["action"] == "page_oncall"
    assert event["payload"]["severity"] == "critical"
    assert "emails_used_twice" in chats(web)[0]
    assert "mail-of-5" not in json.dumps(web.posted)  # the address that is used twice
    assert sum("emails_used_twice" in text for text in chats(web)) == 1
    assert len(chats(web)) <= 2  # beside it, at most one message of whatever else a status finds
    assert f"/ping/{TOKEN}" in web.asked
    assert TOKEN not in failed.errors

    break_orders(place, is_broken=False)
    break_emails(place, is_broken=False)
    run_checks(config, status=0)
    assert pgvault("--config", config, "alert", "run").status == 0

    assert paged(web) == ["trigger", "resolve"]
    assert web.bodies("/v2/enqueue")[1]["dedup_key"] == event["dedup_key"]


def test_what_a_dead_receiver_did_not_take_comes_later(place: Place, web: WebSink, config: Path) -> None:
    """A busy one is tried again; one that refuses is told in status, and has it at the next look."""
    pgvault("--config", config, "alert", "run")
    break_orders(place, is_broken=True)
    web.answers[:] = [403]

    unheard = run_checks(config, status=CheckFailed.exit_code)
    known = finding(config, "notifier")
    assert "alert routes: every action of a check has one" in pgvault("--config", config, "check").output
    web.answers[:] = [503, 202]
    heard = pgvault("--config", config, "alert", "run")
    break_orders(place, is_broken=False)
    run_checks(config, status=0)

    assert "receiver 'pager' was not told: answered 403" in unheard.errors
    assert "receiver 'pager': answered 403" in known["detail"]
    assert heard.status == 0, heard
    assert paged(web) == ["trigger", "resolve"]
    assert finding(config, "notifier")["level"] == "ok"


def finding(config: Path, name: str) -> dict[str, Any]:
    finished = pgvault("--config", config, "status", "--json")
    (cluster,) = json.loads(finished.output)["clusters"]
    (found,) = (each for each in cluster["findings"] if each["name"] == name)
    assert isinstance(found, dict)
    return found


def test_a_dead_notifier_is_red(place: Place, web: WebSink, config: Path) -> None:
    """None ever, one that stopped three hours ago, and one whose receivers take nothing: status ends with 51."""
    repository = place.archive.repository
    never = pgvault("--config", config, "status")
    assert pgvault("--config", config, "alert", "run").status == 0
    alive = finding(config, "notifier")
    notice = read_newest(repository)
    assert notice is not None
    long_ago = iso(datetime.now(UTC) - timedelta(hours=3))
    put_notice(repository, {**notice, "looked_at": {"main": long_ago}}, now=datetime.now(UTC))
    stopped = pgvault("--config", config, "status")
    break_orders(place, is_broken=True)
    web.answering, web.answers[:] = "", [404] * 20  # whoever has anything to tell
    run_checks(config, status=CheckFailed.exit_code)
    unheard = pgvault("--config", config, "alert", "run")
    silent = finding(config, "notifier")
    web.answers.clear()
    break_orders(place, is_broken=False)

    assert never.status == stopped.status == ObjectiveMissed.exit_code
    assert "notifier" in never.errors
    assert "none ever left a notice" in never.output
    assert "notifier" in stopped.errors
    assert "last known alive 3.0 h ago" in stopped.output
    assert alive["level"] == "ok"
    assert unheard.status == StoreUnreachable.exit_code
    assert "receiver 'pager': answered 404" in unheard.errors
    assert silent["level"] == "red"
    assert "receiver 'pager': answered 404" in silent["detail"]


def test_a_repository_that_is_gone_pages_once(place: Place, web: WebSink, config: Path) -> None:
    """The outage that can not be written down there: this host remembers that it was told, and tells its end."""
    place.archive.root.rename(place.archive.root.with_name("away"))
    try:
        gone = [pgvault("--config", config, "alert", "run") for _ in range(3)]
    finally:
        place.archive.root.with_name("away").rename(place.archive.root)
    during = chats(web)
    back = pgvault("--config", config, "alert", "run")

    assert [each.status for each in (*gone, back)] == [0] * 4, gone
    assert all("the repository does not know what was told" in each.output for each in gone)
    assert len(during) == 1
    assert "RED main: repository" in during[0]
    assert "resolved main: repository" in chats(web)[1]
    assert finding(config, "notifier")["level"] == "ok"


def test_every_receiver_is_tried(web: WebSink, config: Path) -> None:
    """`alert test` says of each how it went; what it opens it closes."""
    well = pgvault_json("--config", config, "alert", "test")
    opened = paged(web)
    web.answering = ""
    web.answers[:] = [401] * 4  # of the pager's two: what is refused keeps nothing behind it
    badly = pgvault_json("--config", config, "alert", "test", status=StoreUnreachable.exit_code)
    one = pgvault("--config", config, "alert", "test", "slack")

    assert well == {"receivers": [{"receiver": name, "error": None} for name in ("pager", "slack", "ping")]}
    assert opened == ["trigger", "resolve"]
    assert [each["error"] for each in badly["receivers"]] == ["answered 401"] * 3
    assert (one.status, one.output) == (0, "slack: told\n")
    assert all("this is a test" in text for text in chats(web))


def test_a_watch_tells_until_it_is_ended(web: WebSink, config: Path, tmp_path: Path) -> None:
    """It looks at once, and ends by SIGTERM."""
    words: list[str | Path] = [*program(), "--config", config, "alert", "watch", "--every", "1s"]
    log = tmp_path / "watch.log"
    running = start(words, env={"PATH": os.environ["PATH"], "XDG_STATE_HOME": str(tmp_path)}, log=log)
    try:
        wait_until(lambda: len(web.asked) >= 2, seconds=90)
    finally:
        running.signal(signal.SIGTERM)
        status = running.wait(60)

    assert status == 0, log.read_text()
    assert TOKEN not in log.read_text()
    assert finding(config, "notifier")["level"] == "ok"
