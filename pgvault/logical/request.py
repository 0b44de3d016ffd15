"""What is asked of a logical or a schema backup."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from pgvault.config.anomaly import AnomalyConfig
from pgvault.logical.select import RankedClass
from pgvault.repository.leases import USUAL_TERMS, Terms
from pgvault.repository.logical import LogicalType

SPOOL_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class LogicalRequest:
    """What to dump, and how hard to try."""

    cluster: str
    dsn: str
    password: str | None = field(repr=False)
    databases: tuple[str, ...] | None = None  # by name; None: all but `exclude`
    exclude: tuple[str, ...] = ()  # patterns
    data_class: RankedClass | None = None  # all definitions, and the rows of its tables
    type: LogicalType = LogicalType.LOGICAL
    jobs: int = 2  # of pg_dump, and of ours
    spool: Path | None = None  # where spools are made; None: the system's directory for temporary files
    spool_limit: int = SPOOL_BYTES  # bytes
    lock_wait: timedelta = timedelta(minutes=1)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)  # what libpq may need of ours
    terms: Terms = USUAL_TERMS  # of the lease
    anomaly: AnomalyConfig = field(default_factory=AnomalyConfig)  # by which later ones are compared with it
