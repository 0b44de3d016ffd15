"""Tell without any key whether the bytes of an object are all there: what whoever carries objects needs to know.

    sealed objects      the trailer's SHA-256 of all that is before it        pipeline/header.py
    refs                lines of `sha256sum`, each ended
    clear documents     pgvault.json, keys/<n>: JSON

A digest from a `refs` says more, and is compared where there is one. None of it says that an object is authentic, or
that it lies where it belongs: for that it is opened, with the key.
"""

from __future__ import annotations

import hashlib
import json

from pgvault.errors import ObjectCorrupt
from pgvault.pipeline.header import ObjectHeader, ObjectTrailer
from pgvault.repository.names import is_document, is_refs


def check_whole(path: str, body: bytes, *, sha256: bytes | None = None) -> None:
    """See that the bytes that were read under `path` are all of an object. Raises ObjectCorrupt, FormatUnsupported."""
    if sha256 is not None and hashlib.sha256(body).digest() != sha256:
        raise ObjectCorrupt(f"object {path!r} is not the one its backup was made with")
    if is_document(path):
        _check_document(path, body)
    elif is_refs(path):
        _check_lines(path, body)
    else:
        ObjectHeader.decode(body, where=path)
        ObjectTrailer.decode(body, where=path)


def _check_lines(path: str, body: bytes) -> None:
    if not body.endswith(b"\n"):
        raise ObjectCorrupt(f"{path!r} is not a list of digests")


def _check_document(path: str, body: bytes) -> None:
    try:
        document = json.loads(body)
    except ValueError as error:
        raise ObjectCorrupt(f"object {path!r} is not JSON") from error
    if not isinstance(document, dict):
        raise ObjectCorrupt(f"object {path!r} is not a JSON object")
