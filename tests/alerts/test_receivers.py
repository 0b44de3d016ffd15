"""Each kind of receiver against a server or a program that is really there; what goes wrong holds no secret."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pgvault.alerts.deliver import deliver
from pgvault.alerts.plan import Event, Sending
from pgvault.alerts.receivers import Receiver, make_receiver
from pgvault.alerts.web import request
from pgvault.config import AlertsConfig
from pgvault.errors import PgvaultError, StoreUnreachable
from pgvault.monitor.finding import red, warn
from pgvault.stores.retry import Patience, Transient
from tests.alerts.samples import failed_check, sending, voice
from tests.alerts.sinks import MailSink, WebSink, serving

PATIENCE = Patience(deadline_seconds=2.0, first_wait_seconds=0.01, longest_wait_seconds=0.02)
TOKEN = "T0001/B0002/XXsecretXXsecretXX"
KEY = "R0123456789SECRETROUTINGKEY01234"
UNMEANT = red("gap", "<!channel> see\n<https://example.com|this> & more")


@pytest.fixture
def web() -> Iterator[WebSink]:
    with serving(WebSink()) as sink:
        yield sink


@pytest.fixture
def mail() -> Iterator[MailSink]:
    with serving(MailSink()) as sink:
        yield sink


def receivers(**configured: dict[str, Any]) -> dict[str, Receiver]:
    config = AlertsConfig.model_validate({"receivers": configured})
    return {name: make_receiver(each, environment={"PATH": "/usr/bin"}) for name, each in config.receivers.items()}


def tell(
    known: dict[str, Receiver], *sendings: Sending, limit: float = 20.0, patience: Patience = PATIENCE
) -> dict[str, PgvaultError | None]:
    found = deliver(sendings, known, voice(), patience=patience, limit_seconds=limit)
    return {each.receiver: each.error for each in found}


def secret_in(path: Path, text: str) -> str:
    path.write_text(text + "\n")
    return f"file:{path}"


def slack_at(web: WebSink, tmp_path: Path) -> dict[str, str]:
    return {"webhook": secret_in(tmp_path / "slack", f"{web.url}/services/{TOKEN}")}


def pager_at(web: WebSink, tmp_path: Path) -> dict[str, str]:
    return {"pagerduty": secret_in(tmp_path / "pager", KEY), "endpoint": f"{web.url}/v2/enqueue"}


def test_a_webhook_gets_one_message_for_all(web: WebSink, tmp_path: Path) -> None:
    """With every finding on a line, and nothing in it that a chat would obey."""
    known = receivers(slack=slack_at(web, tmp_path))

    found = tell(known, sending(UNMEANT, receiver="slack"), sending(event=Event.RESOLVE, receiver="slack"))

    (body,) = web.bodies(f"/services/{TOKEN}")
    assert found == {"slack": None}
    assert body["text"].splitlines()[:2] == [
        "RED main: gap: &lt;!channel&gt; see &lt;https://example.com|this&gt; &amp; more",
        "resolved main: gap: 000000010000000000000007 is missing",
    ]


def test_a_pager_gets_an_event_for_each(web: WebSink, tmp_path: Path) -> None:
    """Opened, and closed under the same key; the severity is the check's."""
    known = receivers(pager=pager_at(web, tmp_path))

    tell(known, sending(), sending(failed_check(severity="high")), sending(event=Event.RESOLVE))

    opened, check, closed = web.bodies("/v2/enqueue")
    assert (opened["event_action"], opened["routing_key"]) == ("trigger", KEY)
    assert opened["dedup_key"] == closed["dedup_key"] == "pgvault/0badcafe/main/gap"
    assert (opened["payload"]["severity"], check["payload"]["severity"]) == ("critical", "error")
    assert opened["payload"]["summary"] == "pgvault main: gap: 000000010000000000000007 is missing"
    assert closed == {"routing_key": KEY, "event_action": "resolve", "dedup_key": closed["dedup_key"]}


def test_a_long_key_stays_one(web: WebSink, tmp_path: Path) -> None:
    """PagerDuty takes 255 characters; two that begin alike are still two."""
    known = receivers(pager=pager_at(web, tmp_path))

    tell(known, sending(failed_check("x" * 300)), sending(failed_check("x" * 300 + "y")))

    first, second = (body["dedup_key"] for body in web.bodies("/v2/enqueue"))
    assert first != second
    assert max(len(first), len(second)) <= 255


def test_mail_is_sent(mail: MailSink) -> None:
    """To everybody, with a subject that says enough."""
    known = receivers(
        dba={"smtp": mail.place, "from": "pgvault@example.com", "to": ["a@x.org", "b@x.org"], "starttls": False}
    )

    found = tell(known, sending(receiver="dba"))

    (sent,) = mail.mails
    assert found == {"dba": None}
    assert "Subject: [pgvault] RED main: gap\r\n" in sent
    assert "To: a@x.org, b@x.org\r\n" in sent
    assert "000000010000000000000007 is missing" in sent


def test_a_mail_server_without_starttls_gets_nothing(mail: MailSink) -> None:
    """It is asked for unless the configuration says otherwise."""
    known = receivers(dba={"smtp": mail.place, "from": "pgvault@example.com", "to": "a@x.org"})

    found = tell(known, sending(receiver="dba"))

    assert "not fit" in str(found["dba"])
    assert mail.mails == []


def test_a_busy_mail_server_is_tried_again(mail: MailSink) -> None:
    """450 is not for ever, 550 is."""
    known = receivers(dba={"smtp": mail.place, "from": "p@x.org", "to": "a@x.org", "starttls": False})
    mail.refusals[:] = [b"450 later"]
    found = tell(known, sending(receiver="dba"))
    mail.refusals[:] = [b"550 nobody of that name"]
    refused = tell(known, sending(receiver="dba"))

    assert found == {"dba": None}
    assert "550" in str(refused["dba"])
    assert len(mail.mails) == 1


def test_a_program_gets_json(tmp_path: Path) -> None:
    """On stdin, without a shell, and with nothing of our environment but what it is given."""
    kept = tmp_path / "kept"
    code = f"import os,sys; open({str(kept)!r},'w').write(sys.stdin.read() + chr(10) + ' '.join(sorted(os.environ)))"
    known = receivers(desk={"command": [sys.executable, "-I", "-c", code]})

    found = tell(known, sending(failed_check(), receiver="desk"))

    said, _, environment = kept.read_text().strip().rpartition("\n")
    (event,) = json.loads(said)["events"]
    assert found == {"desk": None}
    assert (event["event"], event["check"], event["level"]) == ("trigger", "orphans", "red")
    assert set(environment.split()) <= {"PATH", "LC_CTYPE"}


def test_a_dead_receiver_is_retried_and_keeps_nobody_waiting(web: WebSink, tmp_path: Path) -> None:
    """Two failures and then success; a refusal is not repeated; the others have theirs at once."""
    slow = {"command": [sys.executable, "-c", "import time; time.sleep(60)"]}
    known = receivers(slack=slack_at(web, tmp_path), desk=slow)
    web.answers[:] = [500, 429]
    began = time.monotonic()

    found = tell(known, sending(receiver="slack"), sending(receiver="desk"), limit=1.5)

    assert found["slack"] is None
    assert "did not take all within" in str(found["desk"])
    assert len(web.posted) == 1
    assert time.monotonic() - began < 30  # 60 and more without the limit
    web.answers[:] = [403, 202]
    assert "answered 403" in str(tell({"slack": known["slack"]}, sending(receiver="slack"))["slack"])
    assert len(web.posted) == 1


def test_a_redirection_is_no_success(web: WebSink, tmp_path: Path) -> None:
    """A portal that wants a login has told nobody."""
    known = receivers(slack=slack_at(web, tmp_path))
    web.answers[:] = [302]

    assert "answered 302" in str(tell(known, sending(receiver="slack"))["slack"])
    assert web.asked == []


def test_no_error_and_no_log_holds_a_secret(web: WebSink, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """However an address is wrong or a server refuses: neither it nor a key shows, in errors, their causes or logs."""
    wrong = [
        f"{web.url}/services/{TOKEN}",
        f"http://127.0.0.1:1/{TOKEN}",
        f"https://{web.url.removeprefix('http://')}/{TOKEN}",
        f"http://nowhere.invalid/{TOKEN}",
        f"http://[::1/{TOKEN}",
        f"http://127.0.0.1:99999/{TOKEN}",
        f"ftp://127.0.0.1/{TOKEN}",
        f"http://127.0.0.1/a b/{TOKEN}",
        TOKEN,
        f"http://user:{TOKEN}@127.0.0.1:1/",
    ]
    web.answers[:] = [404]
    caplog.set_level("DEBUG")

    for number, address in enumerate(wrong):
        known = receivers(slack={"webhook": secret_in(tmp_path / str(number), address)})
        error = tell(known, sending(receiver="slack"), patience=replace(PATIENCE, deadline_seconds=0))["slack"]
        assert error is not None, address
        seen: BaseException | None = error
        while seen is not None:
            assert "XXsecretXX" not in repr(seen), address
            seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    assert "XXsecretXX" not in caplog.text
    assert KEY not in repr(receivers(pager=pager_at(web, tmp_path)))


@pytest.mark.parametrize("address", [f"http://127.0.0.1:1/a b/{TOKEN}", f"{TOKEN}://x", f"http://[{TOKEN}/"])
def test_what_the_library_quotes_is_not_told(address: str) -> None:
    """Some of its errors hold the address; ours hold only what kind they were, and nothing of them behind."""
    with pytest.raises((StoreUnreachable, Transient)) as caught:
        request(address)

    assert "XXsecretXX" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_a_secret_that_is_not_there_is_that_receivers_failure(web: WebSink, tmp_path: Path) -> None:
    """The others are told all the same."""
    known = receivers(slack=slack_at(web, tmp_path), lost={"webhook": f"file:{tmp_path}/nothing"})

    found = tell(known, sending(receiver="slack"), sending(receiver="lost"))

    assert found["slack"] is None
    assert "can not be read" in str(found["lost"])


def test_what_is_refused_keeps_nothing_behind_it(web: WebSink, tmp_path: Path) -> None:
    """An incident that a pager refuses for good: those after it are opened, the worst first."""
    known = receivers(pager=pager_at(web, tmp_path))
    web.answers[:] = [400]

    found = tell(known, sending(warn("clocks", "apart")), sending(red("backup", "stale")), sending())

    assert "answered 400" in str(found["pager"])
    assert [body["payload"]["class"] for body in web.bodies("/v2/enqueue")] == ["gap", "clocks"]


def test_what_one_receiver_trips_over_is_its_own_failure(web: WebSink, tmp_path: Path) -> None:
    """A password that the library can not send, which it quotes: the others are told, and nothing is quoted."""
    with serving(MailSink(offers=b"AUTH PLAIN")) as server:
        login = {"user": secret_in(tmp_path / "user", "dba"), "password": secret_in(tmp_path / "password", "pässwörd")}
        dba = {"smtp": server.place, "from": "p@x.org", "to": "a@x.org", "starttls": False, **login}
        known = receivers(slack=slack_at(web, tmp_path), dba=dba)

        found = tell(known, sending(receiver="dba"), sending(receiver="slack"))

    assert found["slack"] is None
    assert str(found["dba"]) == "can not be told: UnicodeEncodeError"
