"""Open the store that a location names.

file:///absolute/path          percent-encoding is decoded
s3://bucket[/prefix]           taken literally
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

from pgvault.errors import ConfigInvalid
from pgvault.stores.base import ObjectStore, StoreLocation
from pgvault.stores.retry import Patience

FILE = "file://"
S3 = "s3://"


def open_store(location: StoreLocation, *, patience: Patience | None = None) -> ObjectStore:
    """Return the store at `location`, without a question to it yet. Raises ConfigInvalid for a URL we can't read.

    `patience` is how long to wait for an answer; None waits as long as an ordinary command should.
    """
    if location.url.startswith(FILE):
        from pgvault.stores.file import FileStore

        return FileStore(parse_file_url(location.url))
    if location.url.startswith(S3):
        from pgvault.stores.s3 import open_s3  # boto3 takes 180 ms to import

        return open_s3(location, patience=patience or Patience())
    raise ConfigInvalid(f"not the url of a store: {location.url!r}", hint="Write file:///path or s3://bucket/prefix.")


def parse_file_url(url: str) -> Path:
    """Return the directory that a file URL names. Raises ConfigInvalid unless it is absolute and not `/`."""
    path = Path(unquote(url.removeprefix(FILE)))
    if not path.is_absolute() or ".." in path.parts or len(path.parts) < 2 or "\0" in str(path):
        raise ConfigInvalid(
            f"not a directory's url: {url!r}", hint="Write file:///path, with three slashes and no '..'."
        )
    return path
