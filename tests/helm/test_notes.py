"""What `helm install` tells: its commands are run by a shell in which kubectl and helm only say what is asked."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from pgvault.process import attempt
from tests.helm.cases import one
from tests.helm.chart import CHART, TIMEOUT_SECONDS, Values, call_helm, render_file, write_values

pytestmark = pytest.mark.endurance
STUBS = """
set -eu
kubectl() { printf 'kubectl'; printf ' %s' "$@"; printf '\\n'; [ "${*: -1}" != - ] || cat; }
helm() { printf 'helm'; printf ' %s' "$@"; printf '\\n'; }
"""


def notes(directory: Path, values: Values) -> str:
    """Return what is told: `helm template` leaves it out, and so it is made a template like the others."""
    chart = directory / "chart"
    shutil.copytree(CHART, chart)
    told = (chart / "templates" / "NOTES.txt").read_text()
    (chart / "templates" / "NOTES.txt").unlink()
    (chart / "templates" / "told.yaml").write_text(
        f'{{{{- define "told" }}}}{told}{{{{ end }}}}told: {{{{ include "told" . | quote }}}}\n'
    )
    finished = call_helm("template", write_values(directory, values), "--show-only=templates/told.yaml", chart=chart)
    assert finished.status == 0, finished.errors
    text: str = yaml.safe_load(finished.output)["told"]
    return text


def asked(text: str) -> str:
    """Run every line that is printed as one to paste, as it stands; return what was asked of kubectl and helm."""
    lines = [line for line in text.splitlines() if line.startswith("    ")]
    done = attempt(["bash", "-c", STUBS + "\n".join(lines)], timeout=TIMEOUT_SECONDS)
    assert (done.status, done.errors) == (0, "")
    return done.output


def test_commands_name_what_is_there(tmp_path: Path) -> None:
    """Deployments and CronJobs of this release; the claim is one, and the restore renders."""
    values = one({"name": "a_b", "schedule": {"drill": "off"}})
    told = asked(notes(tmp_path, values))
    path = write_values(tmp_path, values)
    rendered = render_file(path)

    assert "pgvault init" in told
    (claim,) = re.findall(r"^{.*?}$", told, re.MULTILINE | re.DOTALL)
    assert yaml.safe_load(claim)["spec"]["resources"] == {"requests": {"storage": "50Gi"}}
    for name in re.findall(r"deploy/(\S+)", told):
        assert rendered.named("Deployment", name)
    cronjobs = re.findall(r"cronjob/(\S+) (\S+)", told)
    assert [job for _, job in cronjobs] == ["a-b-backup-now"]  # its drill is off
    for name, _ in cronjobs:
        assert rendered.named("CronJob", name)
    restores = re.findall(r"^helm upgrade .*--set (\S+)$", told, re.MULTILINE)
    assert restores[-1] == "restore=null"
    assert call_helm("template", path, f"--set={restores[0]}").status == 0


def test_dumps_are_not_restored_by_a_job(tmp_path: Path) -> None:
    """A cluster with source: logical is told of its own job alone."""
    told = asked(notes(tmp_path, one({"config": {"source": "logical"}})))

    assert re.findall(r"cronjob/(\S+)", told) == ["vault-main-logical"]
    assert "restore" not in told
