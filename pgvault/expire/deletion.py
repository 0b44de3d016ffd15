"""What an operator may mark by name: anything but what is held, read or needed, and never the last of its kind.

The last verified full of a copy, or more than a third of all backups in one grace, needs the operator to name where the
recovery window will begin: the value that a dry run printed, which nobody types by accident.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from pgvault.errors import ObjectMissing, Refused, did_you_mean
from pgvault.expire.actions import ExpireRequest, Mark, WindowChange
from pgvault.expire.facts import BackupFacts, ExpireFacts, PhysicalBackup
from pgvault.expire.removals import who_pins
from pgvault.expire.survey import Survey
from pgvault.instants import iso

LARGEST_SHARE = 1 / 3  # of all backups that may be marked without naming the window
ASKED = "an operator asked for it"


def choose_deleted(facts: ExpireFacts, surveyed: Survey, request: ExpireRequest) -> tuple[Mark, ...]:
    """Return the marks of the labels that were asked for. Raises ObjectMissing, Refused."""
    asked = tuple(dict.fromkeys(request.delete))
    unreadable = {label for copy in surveyed.copies for label in copy.copy.unreadable}
    staying = {
        label: backup
        for label, backup in surveyed.present.items()
        if label not in asked and label not in surveyed.deliberate | surveyed.begun
    }
    for label in asked:
        if label not in surveyed.present and label not in unreadable:
            hint = f"{did_you_mean(label, surveyed.present)}See: pgvault list"
            raise ObjectMissing(f"there is no backup {label!r} of cluster {facts.cluster!r}", hint=hint)
        _require_free(facts, surveyed, label, staying)
    _require_rest(surveyed, asked, tuple(staying.values()))
    known = {label for label, tombstone in facts.tombstones.items() if tombstone.is_deliberate}
    return tuple(Mark(label, is_deliberate=True, why=ASKED) for label in asked if label not in known)


def require_confirmed_window(
    facts: ExpireFacts, surveyed: Survey, request: ExpireRequest, windows: Sequence[WindowChange]
) -> str | None:
    """Return what a dry run says about naming the window, None where that is not needed.

    Raises Refused where the request names another moment than the plan's.
    """
    reason = _why_confirm(surveyed, request)
    if reason is None:
        return None
    shrinks_to = find_new_begin(facts, surveyed, windows)
    named = request.shrink_window_to
    if named is not None and (shrinks_to is None or abs(named - shrinks_to) >= timedelta(seconds=1)):
        raise Refused(
            f"the recovery window would begin at {_shown(shrinks_to)}, not at {_shown(named)}",
            hint="See what would happen with --dry-run.",
        )
    return f"{reason}: it takes --shrink-window-to {_shown(shrinks_to)}"


def find_new_begin(facts: ExpireFacts, surveyed: Survey, windows: Sequence[WindowChange]) -> datetime | None:
    """Return since when every moment can be restored from the deciding copy afterwards."""
    for change in windows:
        if change.copy == facts.copies[0].name and change.system_identifier in surveyed.current_systems:
            return change.begins_after
    return None


def _why_confirm(surveyed: Survey, request: ExpireRequest) -> str | None:
    asked = set(request.delete)
    for each in surveyed.copies:
        if each.judged.sound and each.judged.sound <= asked:
            return f"this is the last verified full of copy {each.copy.name!r}"
    # What was marked by name before, and is there still, counts: one at a time is no way round.
    countable = surveyed.present.keys() - surveyed.begun
    going = countable & (asked | surveyed.deliberate)
    if asked & countable - surveyed.deliberate and len(going) > max(1, len(countable) * LARGEST_SHARE):
        marked = len(going - asked)
        return f"these are {len(going)} of {len(countable)} backups" + (f", {marked} marked before" if marked else "")
    return None


def _require_free(facts: ExpireFacts, surveyed: Survey, label: str, staying: dict[str, BackupFacts]) -> None:
    if label in surveyed.held:
        wanting = {why for each in surveyed.copies for other, why in each.wanted if other == label}
        holds = [hold.hold_id for hold in facts.holds if f"wanted by hold {hold.hold_id}" in wanting]
        holds = holds or [hold.hold_id for hold in facts.holds]  # of what is marked already no reason is told
        raise Refused(f"backup {label!r} is held: {'; '.join(holds)}", hint="End the hold first: pgvault release ID")
    reader = who_pins(facts, label)
    if reader is not None:
        raise Refused(f"backup {label!r} is read by {reader}", hint="Try again when that has ended.")
    dependants = [other for other, backup in staying.items() if label in backup.needs]
    if dependants:
        raise Refused(
            f"backup {label!r} is needed by {len(dependants)} others, one is {min(dependants)!r}",
            hint="Delete these as well.",
        )


def _require_rest(surveyed: Survey, asked: Sequence[str], staying: Sequence[BackupFacts]) -> None:
    """Refuse to mark the last full, or the last backup of a cluster that has only logical ones."""
    had_full = any(isinstance(each, PhysicalBackup) and each.is_full for each in surveyed.present.values())
    left = [each for each in staying if not had_full or (isinstance(each, PhysicalBackup) and each.is_full)]
    if asked and not left and any(label in surveyed.present for label in asked):
        raise Refused(
            f"no {'full' if had_full else 'backup'} would be left without {', '.join(map(repr, asked))}",
            hint="Take another one first: pgvault backup",
        )


def _shown(at: datetime | None) -> str:
    return "no moment" if at is None else iso(at)
