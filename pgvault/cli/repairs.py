"""What `verify --repair` did, in lines and in JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pgvault.verify.repair import Repairs


def repair_documents(repairs: Sequence[Repairs]) -> list[dict[str, Any]]:
    """What was done in each copy; empty without --repair."""
    return [
        {
            "copy": done.copy,
            "repaired": [
                {"object": healed.path, "was": str(healed.was), "quarantine": healed.quarantine}
                for healed in done.healed
            ],
            "not_repaired": [{"object": path, "error": str(error)} for path, error in done.failed.items()],
        }
        for done in repairs
    ]


def repair_lines(done: Repairs) -> list[str]:
    """The same for people."""
    lines = [
        f"{done.copy}: repaired: {healed.path} (was: {healed.was}"
        + (")" if healed.quarantine is None else f"; the bad bytes: {healed.quarantine})")
        for healed in done.healed
    ]
    lines += [f"{done.copy}: not repaired: {path}: {error}" for path, error in done.failed.items()]
    return [*lines, f"{done.copy}: {len(done.healed)} objects repaired, {len(done.failed)} not"]
