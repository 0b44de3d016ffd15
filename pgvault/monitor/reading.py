"""Judge how the repository could be read: a status from the second copy must not look like one from the first."""

from __future__ import annotations

from pgvault.monitor.finding import Figures, Finding, red, warn
from pgvault.repository.damage import sum_up
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
    for healed in sum_up(repository.reader.damages):
        counted: Figures = {"copy": healed.copy, "missing": healed.missing, "damaged": healed.damaged}
        findings.append(warn("damage", str(healed), counted, hint=HEAL_HINT))
    return tuple(findings)
