"""How drills are kept apart, from the configuration, the command line and where we run."""

from __future__ import annotations

import os

from pgvault.config import DrillConfig
from pgvault.drill.isolation import Isolation, IsolationWish

POD = "KUBERNETES_SERVICE_HOST"  # Kubernetes sets it in every pod


def isolation_of(config: DrillConfig, kind: Isolation | None = None) -> IsolationWish:
    """Return what is wished for; `kind` wins over the configuration."""
    return IsolationWish(
        kind=kind or Isolation(config.isolation),
        is_in_pod=POD in os.environ,
        image=config.image,
        engine=config.engine,
        pull=config.pull,
        memory=config.memory,
        cpus=config.cpus,
    )
