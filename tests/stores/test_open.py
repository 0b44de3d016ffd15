"""From a URL to a store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pgvault.errors import ConfigInvalid
from pgvault.stores.base import StoreLocation
from pgvault.stores.open import open_store, parse_file_url


def test_urls_name_their_stores() -> None:
    """A store says where it is, without anything secret."""
    location = StoreLocation("s3://bucket/copy/", region="eu-central-1", credentials=("AKIAEXAMPLE", "hush-hush"))

    assert open_store(location).url == "s3://bucket/copy"
    assert open_store(StoreLocation("file:///srv/pgvault/")).url == "file:///srv/pgvault"
    assert "hush" not in repr(location)
    assert "AKIA" not in repr(location)


def test_a_file_url_is_decoded() -> None:
    """Percent-encoding is a URL's way to write a path."""
    assert parse_file_url("file:///srv/my%20disk/100%25") == Path("/srv/my disk/100%")


@pytest.mark.parametrize(
    "url",
    ["", "/srv/x", "file:", "file://", "file:///", "file://host/x", "file:///a/../b", "file:///a%00", "http://x/y"],
)
def test_other_urls_are_refused(url: str) -> None:
    """What does not name exactly one place is a mistake of the config."""
    with pytest.raises(ConfigInvalid):
        open_store(StoreLocation(url))


def test_a_file_store_costs_no_sdk() -> None:
    """Opening a directory imports neither boto3 nor tenacity: archive_command starts a process per segment."""
    code = (
        "import sys; from pgvault.stores.open import open_store; from pgvault.stores.base import StoreLocation;"
        "open_store(StoreLocation('file:///srv/pgvault'));"
        "print(sorted({'boto3', 'botocore', 'tenacity', 'urllib3'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.strip() == "[]"
