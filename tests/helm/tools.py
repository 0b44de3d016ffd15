"""helm and kubeconform, and what an API server knows of kinds: made by .ci/run, since tests fetch nothing.

~/.cache/pgvault/bin/helm-v3.19.0, kubeconform-v0.7.0                  or whatever is on PATH
~/.cache/pgvault/schemas/kubernetes-v1.34.0.json                       its swagger.json
~/.cache/pgvault/schemas/prometheus-operator-v0.85.0/<plural>.yaml     its custom resource definitions
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

# As in .ci/run.
HELM = "v3.19.0"
KUBECONFORM = "v0.7.0"
KUBERNETES = "v1.34.0"
OPERATOR = "v0.85.0"  # of ServiceMonitor and PrometheusRule
PLURALS = ("servicemonitors", "prometheusrules")


def cache() -> Path:
    """Return where .ci/run keeps what it made."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pgvault"


def program(name: str, version: str) -> Path:
    """Return a program; skip, naming it, where it is missing: .ci/run takes that for a failure."""
    made = cache() / "bin" / f"{name}-{version}"
    if made.is_file():
        return made
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: the chart was not tried (see {__name__})")
    return Path(found)


def helm() -> Path:
    """Return Helm."""
    return program("helm", HELM)


def kubeconform() -> Path:
    """Return what holds documents against schemas."""
    return program("kubeconform", KUBECONFORM)


def schema_sources() -> tuple[Path, list[Path]]:
    """Return the API of Kubernetes and the resource definitions of others; skip where .ci/run did not fetch them."""
    schemas = cache() / "schemas"
    api = schemas / f"kubernetes-{KUBERNETES}.json"
    definitions = [schemas / f"prometheus-operator-{OPERATOR}" / f"{plural}.yaml" for plural in PLURALS]
    for path in (api, *definitions):
        if not path.is_file():
            pytest.skip(f"kubernetes schemas are not installed: {path.name} is missing (see {__name__})")
    return api, definitions
