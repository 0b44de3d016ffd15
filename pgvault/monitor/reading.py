"""Judge how the repository could be read: a status from the second copy must not look like one from the first."""

from __future__ import annotations

from pgvault.monitor.finding import Figures, Finding, red, warn
from pgvault.repository.damage import Damage, sum_up
from pgvault.repository.names import ROOT, is_wal, parse_backup, tailed_segment
from pgvault.repository.repository import Repository

HEAL_HINT = "Heal it: pgvault verify --repair."


def judge_reading(repository: Repository) -> tuple[Finding, ...]:
    """Return a finding for each copy that was not read, and for what had to come from another place; none is well."""
    findings = []
    deciding = next((each.name for each in repository.left_out if each.is_deciding), repository.copies[0].name)
    for name, error in repository.unread.items():
        figures: Figures = {"copy": name}
        if name == deciding:
            hint = "Nothing can be archived or backed up without it; what is said here is what the other copies hold."
            findings.append(red("reading", f"copy {name!r}, the first, is not read: {error}", figures, hint=hint))
        else:
            findings.append(warn("reading", f"copy {name!r} is not read: {error}", figures))
    # Whatever there is, the first copy had: what it lacks is in one copy less than everybody believes.
    has_lost = any(each.copy == deciding and _is_lost(each) for each in repository.reader.damages)
    for healed in sum_up(repository.reader.damages):
        counted: Figures = {"copy": healed.copy, "missing": healed.missing, "damaged": healed.damaged}
        judged = red if healed.copy == deciding and has_lost else warn
        findings.append(judged("damage", str(healed), counted, hint=HEAL_HINT))
    return tuple(findings)


def _is_lost(damage: Damage) -> bool:
    """Tell whether a copy lacks a backup or WAL; of all else, some is removed from one copy before the other."""
    name = parse_backup(damage.path)
    is_root = name is not None and name.rest == ROOT
    return damage.is_missing and (is_root or (is_wal(damage.path) and tailed_segment(damage.path) is None))
