"""`pgvault wal fetch` as PostgreSQL calls it: the part of archiver.py that brings files back.

A segment that was looked ahead at has been delivered before this is reached (fastfetch.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pgvault.errors import WAL_ABSENT_EXIT
from pgvault.wal.fetchplan import FetchPlan

if TYPE_CHECKING:
    import argparse

    from pgvault.repository.repository import Repository


def fetch(options: argparse.Namespace) -> int:
    """Deliver one file, as its plan says, or whatever there is now."""
    is_there = fetch_live_file(options) if options.plan is None else fetch_planned_file(options)
    if options.json:
        from pgvault.cli.archiver import say_json

        say_json({"name": options.name, "outcome": "delivered" if is_there else "absent"})
    return 0 if is_there else WAL_ABSENT_EXIT


def fetch_planned_file(options: argparse.Namespace) -> bool:
    """Deliver what the plan lists; False for what it does not."""
    plan = FetchPlan.load(options.plan)
    if not plan.lists(options.name):
        return False  # without what takes longer to import than to answer
    from pgvault.wal.fetch import Budget, fetch_wal
    from pgvault.wal.occupied import refuse_occupied

    budget = Budget() if options.retry_for is None else Budget(options.retry_for)
    options.retry_for = budget.seconds
    # PostgreSQL hands over a path inside its data directory, which is where it runs.
    data = Path(options.path).absolute().parent.parent
    if options.ahead > 0 and not hasattr(options, "config"):
        from pgvault.cli.lookahead import start_ahead

        start_ahead(options.plan, plan, options.name, count=options.ahead, data=data)
    fetch_wal(lambda: open_planned(plan, options), plan, options.name, options.path, budget=budget)
    refuse_occupied(options.name, options.path, data=data)
    return True


def fetch_live_file(options: argparse.Namespace) -> bool:
    """Deliver what the repository has now; False when it confirms that there is nothing."""
    from pgvault.wal.fetch import LIVE_BUDGET, Budget, FetchOutcome, fetch_live

    budget = LIVE_BUDGET if options.retry_for is None else Budget(options.retry_for)
    options.retry_for = budget.seconds
    outcome = fetch_live(lambda: open_live(options), options.name, options.path, budget=budget)
    return outcome is FetchOutcome.DELIVERED


def open_live(options: argparse.Namespace) -> tuple[Repository, str]:
    """Open the configured cluster; return its repository and name."""
    from pgvault.cli.archiver import named_source, patience
    from pgvault.cli.reading import open_cluster_to_read

    name = getattr(options, "cluster", None)
    opened = open_cluster_to_read(named_source(options), name, patience=patience(options), looks_at_all=False)
    return opened.repository, opened.name


def open_planned(plan: FetchPlan, options: argparse.Namespace) -> Repository:
    """Open the repository of a plan, in its copies' order; a --config overrules where the plan looks for it."""
    from pgvault.cli.archiver import named_source, patience
    from pgvault.cli.opening import RepositorySource
    from pgvault.cli.reading import open_copies_of, open_to_read

    if hasattr(options, "config"):
        return open_to_read(named_source(options).load(), patience=patience(options), looks_at_all=False)
    config = RepositorySource.from_json(plan.source).load()
    return open_copies_of(plan, config, patience=patience(options))
