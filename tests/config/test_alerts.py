"""`alerts:` - strict, complete, and without secrets in the file."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from pgvault.config import AlertsConfig, parse_config
from pgvault.errors import ConfigInvalid, ConfigUnknownKey, PlainSecret

PAGER = {"pagerduty": "env:PAGER"}
SLACK = {"webhook": "file:/etc/pgvault/slack"}
MAIL = {"smtp": "mail:587", "from": "pgvault@example.com", "to": "dba@example.com"}
DESK = {"command": ["/usr/local/bin/open-ticket", "--from", "pgvault"]}
RECEIVERS = {"pager": PAGER, "slack": SLACK, "mail": MAIL, "desk": DESK}
REPOSITORY = {"key": "env:KEY", "copies": {"primary": {"url": "file:///srv"}}}


def configured(**alerts: Any) -> AlertsConfig:
    found = parse_config({"repository": REPOSITORY, "alerts": alerts}, where="x").alerts
    assert found is not None
    return found


def test_every_kind_of_receiver() -> None:
    """And where what goes; one name stands for a list, `off` for nobody."""
    found = configured(receivers=RECEIVERS, routes={"red": "pager", "gap": ["pager", "mail"], "warn": False})

    assert found.routes == {"red": ("pager",), "gap": ("pager", "mail"), "warn": ()}
    assert found.repeat == timedelta(hours=4)
    assert found.default is None
    assert {type(each).__name__ for each in found.receivers.values()} == {
        "PagerDutyReceiver",
        "WebhookReceiver",
        "MailReceiver",
        "CommandReceiver",
    }


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.slack.com/services/T0/B0/x",
        "https://user:hush@chat.internal/hook",
        "https://chat.internal/hook?token=hush",
        "https://chat.internal/hooks/xc8i3kdkf7ywmq5b9p1a",
        "https://hc-ping.com/hush",
    ],
)
@pytest.mark.parametrize("where", ["webhook", "ping"])
def test_an_address_that_is_a_secret_is_not_written_here(url: str, where: str) -> None:
    """Whoever has it can use it; and the error does not repeat it."""
    alerts = {"receivers": {"slack": {"webhook": url}}} if where == "webhook" else {"receivers": RECEIVERS, "ping": url}

    with pytest.raises(PlainSecret) as caught:
        configured(**alerts)

    assert url not in str(caught.value)
    assert "hush" not in str(caught.value)


def test_an_address_without_any_secret_may_stand_here() -> None:
    """A relay in one's own network."""
    found = configured(
        receivers={"relay": {"webhook": "http://relay.internal:8080/hooks/dba"}}, ping="http://watch/pgvault"
    )

    assert found.ping == "http://watch/pgvault"


@pytest.mark.parametrize(
    ("alerts", "said"),
    [
        ({"receivers": {}}, "receivers"),
        ({"receivers": {"x": {"telegram": "y"}}}, "a receiver is one of webhook, pagerduty, smtp, command"),
        ({"receivers": RECEIVERS, "routes": {"red": "pagre"}}, "routes.red names receiver 'pagre'"),
        ({"receivers": RECEIVERS, "default": "nobody"}, "default names receiver 'nobody'"),
        ({"receivers": RECEIVERS, "default": "off"}, "default must name a receiver"),
        ({"receivers": {"x": {**MAIL, "smtp": "mail"}}}, "smtp"),
        ({"receivers": {"x": {**MAIL, "to": "dba"}}}, "'dba' is no address"),
        ({"receivers": {"x": {**MAIL, "user": "env:U"}}}, "user and password go together"),
        (
            {"receivers": {"x": {**MAIL, "user": "env:U", "password": "env:P", "starttls": False}}},
            "in the clear",
        ),
        ({"receivers": {"x": {"webhook": "chat.internal"}}}, "begins with http"),
        ({"receivers": {"x": {"command": []}}}, "command"),
        ({"receivers": RECEIVERS, "repeat": 4}, "not a duration"),
    ],
)
def test_what_would_tell_nobody_is_refused(alerts: dict[str, Any], said: str) -> None:
    """When the file is read, not when something has happened."""
    with pytest.raises(ConfigInvalid, match=said):
        configured(**alerts)


@pytest.mark.parametrize(
    "alerts",
    [
        {"receivers": RECEIVERS, "route": {}},
        {"receivers": {"x": {**PAGER, "endpont": "https://x/y"}}},
        {"receivers": {"x": {**MAIL, "tls": True}}},
    ],
)
def test_a_misspelt_key_is_refused(alerts: dict[str, Any]) -> None:
    """As everywhere."""
    with pytest.raises(ConfigUnknownKey):
        configured(**alerts)


def test_a_routing_key_is_not_written_here() -> None:
    """Nor a password of the mail server."""
    with pytest.raises(PlainSecret):
        configured(receivers={"pager": {"pagerduty": "R0123456789"}})
    with pytest.raises(PlainSecret):
        configured(receivers={"mail": {**MAIL, "user": "env:U", "password": "hush"}})


def test_a_misspelt_receiver_is_answered_by_the_one_that_was_meant() -> None:
    """Beside those that there are."""
    with pytest.raises(ValueError, match=r"Did you mean 'pager'\? Known: .*pager"):
        AlertsConfig.model_validate({"receivers": RECEIVERS, "routes": {"red": "pagre"}})
