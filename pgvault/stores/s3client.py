"""What we use of boto3's client, and how one is made for a location."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol, cast

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from pgvault.errors import ConfigInvalid
from pgvault.stores.base import StoreLocation
from pgvault.stores.cold import is_cold, thaw_hint
from pgvault.stores.retry import Patience

Response = Mapping[str, Any]  # as botocore parsed it
CONNECTIONS = 32
S3_URL = re.compile(r"s3://(?P<bucket>[A-Za-z0-9][A-Za-z0-9._-]{1,254})(?:/(?P<prefix>[^\x00-\x1f\x7f]*))?")


class Client(Protocol):
    """What we use of boto3's client."""

    def put_object(self, **arguments: object) -> Response: ...
    def get_object(self, **arguments: object) -> Response: ...
    def head_object(self, **arguments: object) -> Response: ...
    def delete_object(self, **arguments: object) -> Response: ...
    def copy_object(self, **arguments: object) -> Response: ...
    def restore_object(self, **arguments: object) -> Response: ...
    def list_objects_v2(self, **arguments: object) -> Response: ...
    def list_object_versions(self, **arguments: object) -> Response: ...
    def get_object_retention(self, **arguments: object) -> Response: ...
    def put_object_retention(self, **arguments: object) -> Response: ...
    def get_bucket_versioning(self, **arguments: object) -> Response: ...
    def get_object_lock_configuration(self, **arguments: object) -> Response: ...


def open_client(location: StoreLocation, *, patience: Patience) -> Client:
    """Return a client for a location; nothing is asked of the store yet. Raises ConfigInvalid.

    Without credentials in the location the SDK looks for them itself: environment, profile (also one that assumes a
    role or runs a program), web identity, the host's own role.
    """
    require_readable_class(location)
    access_key, secret_key = location.credentials or (None, None)
    try:
        session = boto3.session.Session(
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            region_name=location.region,
            profile_name=location.profile,
        )
        client = session.client(
            "s3",
            endpoint_url=location.endpoint_url,
            config=Config(
                connect_timeout=patience.connect_seconds,
                read_timeout=patience.read_seconds,
                retries={"total_max_attempts": 1},  # `retry` does it
                max_pool_connections=CONNECTIONS,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3={"addressing_style": location.addressing},
            ),
        )
    except (BotoCoreError, ValueError) as error:
        raise ConfigInvalid(f"store {location.url} can't be opened: {error}") from error
    # The stubs know each argument by name; we pass them on as dictionaries.
    return cast("Client", client)


def require_readable_class(location: StoreLocation) -> None:
    """Refuse to put objects where they can not be read: a backup reads back what it wrote before it commits."""
    if is_cold(location.storage_class):
        raise ConfigInvalid(
            f"storage class {location.storage_class!r} of {location.url} can not be read at once",
            hint=f"Set archive_after and archive_class instead. {thaw_hint(location.storage_class)}",
        )


def parse_s3_url(url: str) -> tuple[str, str]:
    """Return bucket and prefix (without slashes around it, maybe empty). Raises ConfigInvalid."""
    match = S3_URL.fullmatch(url)
    prefix = ((match["prefix"] if match else None) or "").removesuffix("/")
    if match is None or (prefix and any(part in ("", ".", "..") for part in prefix.split("/"))):
        raise ConfigInvalid(f"not the url of a bucket: {url!r}", hint="Write s3://bucket/prefix.")
    return match["bucket"], prefix


def is_same_provider(one: StoreLocation, other: StoreLocation) -> bool:
    """Whether one server, asked with one set of credentials, reaches both."""
    return (one.endpoint_url, one.profile, one.credentials) == (other.endpoint_url, other.profile, other.credentials)
