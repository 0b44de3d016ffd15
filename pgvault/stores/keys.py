"""Keys: the names of objects within a store.

    key       = component *( "/" component )       at most 800 characters
    component = 1 to 200 of A-Z a-z 0-9 . _ + -    but not ".", "..", nor anything that begins with ".tmp-"

The alphabet needs no encoding on any file system or in any URL. A prefix is a key that names no object but
all that lies under it, component by component: "db1" is never a prefix of "db10/x".
No object may lie under another one ("a" and "a/b"): a directory can't hold both. The layout sees to that;
only the file store would notice.
"""

from __future__ import annotations

import re

from pgvault.errors import UsageError

TEMPORARY = ".tmp-"  # what the file store writes to before a name is decided; never listed
KEY_LIMIT = 800  # characters; S3 takes 1,024 bytes including the prefix of the copy
COMPONENT = re.compile(r"[A-Za-z0-9._+-]{1,200}")


def is_component(text: str) -> bool:
    """Whether `text` may stand between two slashes of a key."""
    return COMPONENT.fullmatch(text) is not None and text not in (".", "..") and not text.startswith(TEMPORARY)


def is_key(text: str) -> bool:
    """Whether `text` may name an object."""
    return len(text) <= KEY_LIMIT and all(is_component(component) for component in text.split("/"))


def check_key(key: str) -> str:
    """Return `key`. Raises UsageError where it can't name an object, nor be a prefix."""
    if not is_key(key):
        raise UsageError(f"not a key: {key!r}")
    return key
