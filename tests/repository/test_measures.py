from __future__ import annotations

import json
from typing import Any

import pytest

from pgvault.errors import ObjectCorrupt
from pgvault.repository.logical import LogicalManifest
from pgvault.repository.manifest import Manifest
from pgvault.repository.measures import Measures
from tests.anomaly.days import follow, values
from tests.repository.logicals import make_logical
from tests.repository.samples import make_manifest

MEASURES: Measures = follow([values(rows=5)] * 9 + [values(size=1), values(size=1.5)])[-1].measures


def test_they_stand_in_the_root_of_either_kind() -> None:
    """What was compared with what is read back as it was written; a root without is read as before."""
    for made, read in ((make_manifest, Manifest.from_json), (make_logical, LogicalManifest.from_json)):
        root = made(measures=MEASURES)
        document = json.loads(json.dumps(root.to_json()))

        assert read(document, where="x") == root
        assert len(json.dumps(document["measures"])) < 4000
        del document["measures"]
        assert read(document, where="x") == made()
        assert "measures" not in made().to_json()


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": 5},
        {"values": [1]},
        {"values": {"size": "1"}},
        {"values": {"size": -1}},
        {"values": {"size": True}},
        {"values": {"size": float("nan")}},
        {"before": None},
        {"since": [{"label": "a"}]},
        {"suspects": [{"label": "a", "at": "2026-01-01T00:00:00", "normal": "b", "normal_at": "2026-01-01T00:00:00Z"}]},
    ],
)
def test_malformed_ones_are_refused(changes: dict[str, Any]) -> None:
    """A root is whole or corrupt."""
    document = make_manifest(measures=MEASURES).to_json()
    document["measures"] |= changes

    with pytest.raises(ObjectCorrupt):
        Manifest.from_json(document, where="x")


def test_what_a_later_version_measures_is_passed_over() -> None:
    """And kept, so that a root is put as it was read."""
    document = make_manifest(measures=MEASURES).to_json()
    document["measures"]["values"]["locks"] = 7
    document["measures"]["more"] = {}

    read = Manifest.from_json(document, where="x").measures

    assert read is not None
    assert read.values["locks"] == 7
