"""What notifiers know of each other: which alerts are open, and who was told of them when.

    alerts        key → the alert as it was last seen, since when, and for each receiver that has it open: which level
                  it was told, and when. One that is over stays for a day, as "ok": for whoever was not told yet, and
                  for a notifier that could not read the repository when it ended.
    looked_at     cluster → when a notifier last looked at it and could tell what it found
    errors        receiver → what its last sending failed at; gone when one succeeds

Two states of which neither knew of the other become one: of each alert the younger word counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from pgvault.alerts.alert import Alert
from pgvault.errors import ObjectCorrupt
from pgvault.instants import iso
from pgvault.monitor.finding import Level
from pgvault.repository.fields import read_instant

ENDED_KEPT = timedelta(days=1)
UNWATCHED_KEPT = timedelta(days=7)  # alerts of a cluster at which nobody looks any more


@dataclass(frozen=True, slots=True)
class Told:
    """What a receiver was told last of an alert that is open there."""

    level: Level
    at: datetime


@dataclass(frozen=True, slots=True)
class Known:
    """One alert, open or over."""

    alert: Alert
    since: datetime  # when it was first seen, or was over
    changed_at: datetime  # when anything of this was changed last
    told: Mapping[str, Told] = field(default_factory=dict)  # by receiver
    is_flapping: bool = False  # it came back soon after it was over

    @property
    def is_open(self) -> bool:
        """Whether it still is as it was told."""
        return self.alert.level is not Level.OK


@dataclass(frozen=True, slots=True)
class Failure:
    """What a receiver's last sending failed at."""

    error: str
    at: datetime  # since when it fails so


@dataclass(frozen=True, slots=True)
class State:
    """Everything that one look hands to the next."""

    alerts: Mapping[str, Known] = field(default_factory=dict)
    looked_at: Mapping[str, datetime] = field(default_factory=dict)
    errors: Mapping[str, Failure] = field(default_factory=dict)

    def merged(self, other: State, keys: Collection[str]) -> State:
        """Take over what `other` knows of the alerts `keys`, where that is younger."""
        alerts = dict(self.alerts)
        for key in keys:
            theirs, mine = other.alerts.get(key), alerts.get(key)
            if theirs is not None and (mine is None or mine.changed_at < theirs.changed_at):
                alerts[key] = theirs
        return replace(self, alerts=alerts)

    def pruned(self, now: datetime) -> State:
        """Forget what is long over, and clusters at which nobody looks any more."""
        looked_at = {name: at for name, at in self.looked_at.items() if now - at < UNWATCHED_KEPT}
        alerts = {
            key: known
            for key, known in self.alerts.items()
            if now - known.changed_at < (UNWATCHED_KEPT if known.is_open else ENDED_KEPT)
            or (known.is_open and known.alert.cluster in looked_at)
        }
        return State(alerts, looked_at, self.errors)

    def to_json(self) -> dict[str, Any]:
        """Return what is stored."""
        return {
            "alerts": [_known_json(known) for _, known in sorted(self.alerts.items())],
            "looked_at": {name: iso(at) for name, at in sorted(self.looked_at.items())},
            "errors": {name: {"error": each.error, "at": iso(each.at)} for name, each in sorted(self.errors.items())},
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any], *, where: str) -> State:
        """Read what was stored. Raises ObjectCorrupt; `where` names it."""
        try:
            alerts = [_read_known(each) for each in document["alerts"]]
            looked_at = {str(name): read_instant(at) for name, at in document["looked_at"].items()}
            errors = {
                str(name): Failure(str(each["error"]), read_instant(each["at"]))
                for name, each in document["errors"].items()
            }
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ObjectCorrupt(f"notice {where!r} is not what a notifier writes: {error!r}") from error
        return cls({known.alert.key: known for known in alerts}, looked_at, errors)


def _known_json(known: Known) -> dict[str, Any]:
    told = {name: {"level": each.level.value, "at": iso(each.at)} for name, each in sorted(known.told.items())}
    return {
        "alert": known.alert.to_json(),
        "since": iso(known.since),
        "changed_at": iso(known.changed_at),
        "told": told,
        "flapping": known.is_flapping,
    }


def _read_known(document: Mapping[str, Any]) -> Known:
    return Known(
        Alert.from_json(document["alert"]),
        read_instant(document["since"]),
        read_instant(document["changed_at"]),
        {str(name): Told(Level(each["level"]), read_instant(each["at"])) for name, each in document["told"].items()},
        bool(document.get("flapping")),
    )
