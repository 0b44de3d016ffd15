from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.helm.chart import complaints

pytestmark = pytest.mark.endurance

CONTAINER = {"name": "a", "image": "b", "resources": {"requests": {"cpu": 1, "memory": "1Gi"}}}
CRON_JOB = {
    "apiVersion": "batch/v1",
    "kind": "CronJob",
    "metadata": {"name": "a"},
    "spec": {
        "schedule": "0 1 * * *",
        "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [CONTAINER]}}}},
    },
}
MONITOR = {
    "apiVersion": "monitoring.coreos.com/v1",
    "kind": "ServiceMonitor",
    "metadata": {"name": "a", "labels": {"a": "b"}},
    "spec": {"selector": {"matchLabels": {"a": "b"}}, "endpoints": [{"port": "metrics", "interval": "30s"}]},
}


def test_what_an_api_server_takes_passes(schemas: Path, tmp_path: Path) -> None:
    """Kinds of Kubernetes' own and of others; a quantity may be a number."""
    path = tmp_path / "rendered.yaml"
    path.write_text(yaml.safe_dump_all([CRON_JOB, MONITOR]))

    assert complaints(schemas, [path], count=2) == []


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("schedule: 0 1", "shedule: 0 1", "additional properties 'shedule' not allowed"),
        ("name: a\n            resources", "nam: a\n            resources", "additional properties 'nam' not allowed"),
        ("schedule: 0 1 * * *", "schedule: 1", "got number, want string"),
        ("matchLabels", "matchLabel", "additional properties 'matchLabel' not allowed"),
        ("labels:\n    a: b", "label:\n    a: b", "additional properties 'label' not allowed"),
        ("kind: CronJob", "kind: CronJobs", "could not find schema for CronJobs"),
    ],
)
def test_what_it_refuses_is_told(schemas: Path, tmp_path: Path, right: str, wrong: str, told: str) -> None:
    """A key misspelt, however deep, a value of another type, a kind that nobody knows."""
    path = tmp_path / "rendered.yaml"
    text = yaml.safe_dump_all([CRON_JOB, MONITOR])
    assert right in text
    path.write_text(text.replace(right, wrong, 1))

    (complaint,) = complaints(schemas, [path], count=2)

    assert told in complaint
