"""What is told, in words for people and as JSON for programs.

Nothing goes out that `status` does not show: a clause per finding, never rows of tables. What it quotes may come from
anywhere, so that nothing in it is obeyed: it stands on one line, and a chat reads no commands in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pgvault.alerts.alert import LEVELS
from pgvault.alerts.plan import Event, Sending
from pgvault.alerts.routing import Router
from pgvault.instants import iso
from pgvault.monitor.finding import Level

SHOWN = 30  # findings in one message
DETAIL_MAX = 500  # characters
KEY_MAX = 200
WORDS = {Event.TRIGGER: "", Event.REPEAT: "still ", Event.RESOLVE: "resolved "}
SEVERITIES = ("critical", "error", "warning", "info")  # as PagerDuty has them
MEANT = {"high": "error", "medium": "warning", "low": "info"}  # severities of checks, in its words


@dataclass(frozen=True, slots=True)
class Voice:
    """Who speaks, and of which repository: the same on every host that has the same configuration."""

    host: str
    repository: str  # a short digest of where its first copy is; known also while it can not be opened
    router: Router
    clock: Callable[[], datetime]


def line(text: str) -> str:
    """Return a text on one line, without anything that does not print, and not too long."""
    printable = "".join(each if each.isprintable() else " " for each in text)
    return printable if len(printable) <= DETAIL_MAX else f"{printable[: DETAIL_MAX - 1]}…"


def headline(sendings: Sequence[Sending]) -> str:
    """Return what a mail is about."""
    if len(sendings) == 1:
        return f"[pgvault] {_summary(sendings[0])}"
    counts = [
        f"{count} {word}"
        for word, event in (("new", Event.TRIGGER), ("still red", Event.REPEAT), ("resolved", Event.RESOLVE))
        if (count := sum(each.event is event for each in sendings))
    ]
    clusters = ", ".join(sorted({each.alert.cluster for each in sendings}))
    return line(f"[pgvault] {clusters}: {', '.join(counts)}")


def text(sendings: Sequence[Sending], voice: Voice) -> str:
    """Return the message for people, the worst first."""
    ordered = sorted(sendings, key=rank)
    lines = []
    for each in ordered[:SHOWN]:
        lines.append(f"{_summary(each)}: {line(each.alert.detail)}")
        if each.event is Event.TRIGGER and each.alert.hint:
            lines.append(f"    {line(each.alert.hint)}")
    if len(ordered) > SHOWN:
        lines.append(f"and {len(ordered) - SHOWN} more: pgvault status")
    return "\n".join([*lines, f"pgvault on {line(voice.host)}, {iso(voice.clock().replace(microsecond=0))}"])


def escape_for_slack(message: str) -> str:
    """Return a text in which Slack reads no commands, as `<!channel>` is one."""
    return message.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def document(sendings: Iterable[Sending], voice: Voice) -> dict[str, Any]:
    """Return the message for programs."""
    return {
        "pgvault": 1,
        "at": iso(voice.clock()),
        "host": voice.host,
        "events": [
            {
                "event": each.event.value,
                "cluster": each.alert.cluster,
                "finding": each.alert.name,
                "level": each.alert.level.value,
                "detail": line(each.alert.detail),
                "hint": None if each.alert.hint is None else line(each.alert.hint),
                "check": each.alert.check,
                "severity": each.alert.severity,
                "where": each.alert.where,
                "action": voice.router.action(each.alert),
                "since": iso(each.since),
                "key": dedup_key(each, voice),
            }
            for each in sendings
        ],
    }


def pagerduty_event(sending: Sending, voice: Voice, routing_key: str) -> dict[str, Any]:
    """Return an event of PagerDuty's Events API v2; one alert is one incident, however often it is told."""
    event: dict[str, Any] = {
        "routing_key": routing_key,
        "event_action": "resolve" if sending.event is Event.RESOLVE else "trigger",
        "dedup_key": dedup_key(sending, voice),
    }
    if sending.event is not Event.RESOLVE:
        alert = sending.alert
        event["payload"] = {
            "summary": line(f"pgvault {alert.cluster}: {_what(sending)}: {alert.detail}"),
            "source": voice.host,
            "severity": _severity(sending),
            "timestamp": iso(sending.since),
            "component": alert.cluster,
            "class": alert.name,
            "custom_details": {
                "hint": None if alert.hint is None else line(alert.hint),
                "action": voice.router.action(alert),
            },
        }
    return event


def dedup_key(sending: Sending, voice: Voice) -> str:
    """Return what names an alert for ever, at any receiver: at most 255 characters, as PagerDuty allows."""
    key = sending.alert.key
    if len(key) > KEY_MAX:
        key = f"{key[:KEY_MAX]}#{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    return f"pgvault/{voice.repository}/{key}"


def _summary(sending: Sending) -> str:
    level = sending.alert.level
    word = "" if sending.event is Event.RESOLVE else level.value.upper() + " "
    return line(f"{WORDS[sending.event]}{word}{sending.alert.cluster}: {_what(sending)}")


def _what(sending: Sending) -> str:
    alert = sending.alert
    if alert.check is None:
        return alert.name
    return f"check {alert.check}" + (f" ({alert.where})" if alert.where else "")


def rank(sending: Sending) -> tuple[bool, int, str]:
    """Return by what things are told in their order: the worst first, what is over last."""
    return sending.event is Event.RESOLVE, -LEVELS.index(sending.alert.level), sending.alert.key


def _severity(sending: Sending) -> str:
    said = (sending.alert.severity or "").lower()
    meant = MEANT.get(said, said)
    return meant if meant in SEVERITIES else "critical" if sending.alert.level is Level.RED else "warning"
