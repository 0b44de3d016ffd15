"""The jobs that every scheduler runs."""

from __future__ import annotations

import pytest

from pgvault.config import ClusterConfig
from pgvault.config.schedule import Schedule
from pgvault.hosts.jobs import JOBS, jobs_of
from pgvault.schedule import read_cron


def test_every_job_of_the_configuration_is_there() -> None:
    """… by the name that it has in the file, and no other."""
    assert JOBS.keys() == Schedule().jobs.keys()


@pytest.mark.parametrize("name", JOBS)
def test_job_runs_at_a_time_that_there_is(name: str) -> None:
    """Its usual time is written as five fields, and it knows its own name."""
    assert JOBS[name].name == name
    assert read_cron(JOBS[name].cron) == JOBS[name].cron


def test_cluster_is_named_in_each_command() -> None:
    """A configuration may hold many."""
    assert JOBS["logical"].lines("main") == (
        ("backup", "--type", "logical", "--cluster", "main"),
        ("drill", "--logical", "latest", "--cluster", "main"),
    )


def test_nothing_runs_that_has_nothing_to_do() -> None:
    """No files, no copies, no checks: no jobs for them."""
    logical = ClusterConfig.model_validate({"dsn": "", "source": "logical"})
    checked = ClusterConfig.model_validate({"dsn": "", "checks": [{"name": "a", "query": "SELECT 0", "threshold": 0}]})

    assert [job.name for job in jobs_of(logical, has_copies=False)] == ["logical", "schema", "verify", "expire"]
    assert [job.name for job in jobs_of(checked, has_copies=True)] == list(JOBS)
