"""How long a restore is expected to take, told from the drills there were, for `restore --dry-run`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pgvault.cli import render
from pgvault.cli.opening import OpenedCluster
from pgvault.drill.forecast import LEAST_DRILLS, Forecast, forecast
from pgvault.drill.past import read_past
from pgvault.errors import PgvaultError
from pgvault.restore.run import Prepared


@dataclass(frozen=True, slots=True)
class Expected:
    """A forecast, or why there is none."""

    forecast: Forecast | None
    why: str

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {"forecast": None if self.forecast is None else self.forecast.to_json(), "forecast_note": self.why}

    def __str__(self) -> str:
        if self.forecast is None:
            return f"unknown: {self.why}"
        fetch, replay = render.duration(self.forecast.fetch_seconds), render.duration(self.forecast.replay_seconds)
        whole = render.duration(self.forecast.rto_seconds)
        return f"fetch {fetch}, replay {replay}; as a drill, with its checks, {whole} ({self.why})"


def expect(opened: OpenedCluster, prepared: Prepared) -> Expected:
    """Return what a restore is expected to take; reports that can not be read are no reason not to plan."""
    try:
        past = read_past(opened.repository, opened.name)
    except PgvaultError as error:
        return Expected(None, f"earlier drills could not be read: {error}")
    manifest, plan = prepared.manifest, prepared.plan
    found = forecast(past, fetch_bytes=manifest.stored_bytes, replay_bytes=max(0, plan.end_lsn - manifest.start_lsn))
    if found is None:
        return Expected(None, f"{len(past)} drills tell too little; it takes {LEAST_DRILLS}")
    return Expected(found, str(found))
