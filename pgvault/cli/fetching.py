"""`pgvault wal fetch` as PostgreSQL calls it: the part of archiver.py that brings files back."""

from __future__ import annotations

import argparse

from pgvault.cli.archiver import named_source, open_named, patience, say_json
from pgvault.cli.opening import RepositorySource, open_from
from pgvault.errors import WAL_ABSENT_EXIT
from pgvault.repository.repository import Repository
from pgvault.wal.fetch import LIVE_BUDGET, Budget, FetchOutcome, fetch_live, fetch_wal
from pgvault.wal.fetchplan import FetchPlan
from pgvault.wal.occupied import refuse_occupied


def fetch(options: argparse.Namespace) -> int:
    """Deliver one file, as its plan says, or whatever there is now."""
    budget = LIVE_BUDGET if options.plan is None else Budget()
    if options.retry_for is not None:
        budget = Budget(options.retry_for)
    options.retry_for = budget.seconds
    if options.plan is not None:
        plan = FetchPlan.load(options.plan)
        outcome = fetch_wal(lambda: open_planned(plan, options), plan, options.name, options.path, budget=budget)
        if outcome is FetchOutcome.DELIVERED:
            # PostgreSQL hands over a path inside its data directory, which is where it runs.
            refuse_occupied(options.name, options.path, data=options.path.absolute().parent.parent)
    else:
        outcome = fetch_live(lambda: open_live(options), options.name, options.path, budget=budget)
    if options.json:
        say_json({"name": options.name, "outcome": str(outcome)})
    return 0 if outcome is FetchOutcome.DELIVERED else WAL_ABSENT_EXIT


def open_live(options: argparse.Namespace) -> tuple[Repository, str]:
    """Open the configured cluster; return its repository and name."""
    opened = open_named(options)
    return opened.repository, opened.name


def open_planned(plan: FetchPlan, options: argparse.Namespace) -> Repository:
    """Open the repository of a plan; a --config overrules where the plan looks for it."""
    source = named_source(options) if hasattr(options, "config") else RepositorySource.from_json(plan.source)
    return open_from(source.load(), patience=patience(options))
