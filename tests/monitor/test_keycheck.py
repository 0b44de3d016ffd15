from __future__ import annotations

from collections.abc import Mapping

import pytest

from pgvault.keyring.documents import SlotSummary
from pgvault.monitor.finding import Level
from pgvault.monitor.keycheck import KeyFacts, check_keys

KMS = SlotSummary("aws-kms-1", "aws-kms", None, (1, 2), "arn:aws:kms:eu-central-1:123456789012:key/abc")
WEST = SlotSummary("aws-kms-2", "aws-kms", None, (1, 2), "arn:aws:kms:eu-west-1:123456789012:key/abc")
RAW = SlotSummary("raw-1", "raw", None, (1, 2), "")
OLD = SlotSummary("old", "raw", None, (1,), "")  # a rotation left it behind
BOTH = {"primary": "eu-central-1", "dr": "eu-west-1"}


def levels(
    kind: str, *slots: SlotSummary, is_pushed: bool = True, regions: Mapping[str, str | None] = BOTH
) -> dict[str, Level]:
    found = check_keys(KeyFacts(kind, is_pushed, slots, 2, regions))
    return {finding.name: finding.level for finding in found}


@pytest.mark.parametrize("kind", ["passphrase", "aws-kms"])
def test_price_of_each_segment_is_said(kind: str) -> None:
    """A raw key costs nothing; nor does a stream, which opens the repository once."""
    assert levels(kind, RAW) == {"key": Level.WARN, "key slots": Level.OK}
    assert levels(kind, RAW, is_pushed=False) == {"key slots": Level.OK}
    assert levels("raw", RAW) == {"key slots": Level.OK}


def test_copy_in_another_region_needs_a_key_that_is_not_only_in_this_one() -> None:
    """Else the region that was to be survived takes the other one with it; a slot that opens old keys does not help."""
    assert levels("aws-kms", KMS, is_pushed=False) == {"key slots": Level.WARN}
    assert levels("aws-kms", KMS, OLD, is_pushed=False) == {"key slots": Level.WARN}
    assert levels("aws-kms", KMS, RAW, is_pushed=False) == {"key slots": Level.OK}
    assert levels("aws-kms", KMS, WEST, is_pushed=False) == {"key slots": Level.OK}
    assert levels("aws-kms", KMS, is_pushed=False, regions={"primary": "eu-central-1"}) == {"key slots": Level.OK}
    assert levels("aws-kms", KMS, is_pushed=False, regions={"disk": None}) == {"key slots": Level.WARN}


def test_copies_out_of_reach_are_named() -> None:
    """And what to do."""
    (finding,) = check_keys(KeyFacts("aws-kms", False, [KMS], 2, BOTH))

    assert finding.detail.endswith("without KMS there, copy dr can not be read")
    assert finding.warning is not None
    assert "key export" in finding.warning
