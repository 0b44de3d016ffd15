from __future__ import annotations

import pytest

from pgvault.cli.isolation import POD, isolation_of
from pgvault.config import DrillConfig
from pgvault.drill.isolation import Isolation


@pytest.fixture(autouse=True)
def no_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests may run in one."""
    monkeypatch.delenv(POD, raising=False)


def test_the_best_is_taken_unless_told_otherwise() -> None:
    """A sandbox where one works, in no pod."""
    wish = isolation_of(DrillConfig())

    assert (wish.kind, wish.is_in_pod, wish.image, wish.engine) == (Isolation.AUTO, False, None, None)


def test_the_command_line_wins_over_the_configuration() -> None:
    """All that is said of containers stays."""
    config = DrillConfig(isolation="container", image="pg:18", engine="podman", pull=True, memory="512m", cpus=1.5)

    assert isolation_of(config).kind is Isolation.CONTAINER
    wish = isolation_of(config, Isolation.PROCESS)
    assert wish.kind is Isolation.PROCESS
    assert (wish.image, wish.engine, wish.pull, wish.memory, wish.cpus) == ("pg:18", "podman", True, "512m", 1.5)


def test_a_pod_is_told_by_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes sets it in every container."""
    monkeypatch.setenv(POD, "10.0.0.1")

    assert isolation_of(DrillConfig()).is_in_pod
