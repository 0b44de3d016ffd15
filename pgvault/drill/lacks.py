"""What this host lacks, read from what PostgreSQL says while something is loaded.

An extension, a library or a locale that is not installed here says nothing about the backup: the drill could not run.
Everything else that a restore complains of is a finding. PostgreSQL is asked in English (lc_messages is C).
"""

from __future__ import annotations

import re

# Each with the words that tell an operator what to install; %s is what stands in the first group.
LACKS = (
    (r'extension "([^"]+)" is not available', "extension '%s' is not installed here"),
    (r'could not open extension control file "[^"]*/([^"/]+)\.control"', "extension '%s' is not installed here"),
    (r'extension "([^"]+)" has no installation script nor update path', "extension '%s' is here in another version"),
    (r'could not access file "([^"]+)": No such file', "library '%s' is not installed here"),
    (r'could not load library "([^"]+)"', "library '%s' can not be loaded here"),
    (r"(\S+) (?:can only|must) be loaded via \"?shared_preload_libraries", "'%s' wants to be preloaded"),
    (r'invalid (?:LC_COLLATE |LC_CTYPE )?locale name: "([^"]+)"', "locale '%s' is not installed here"),
    (r'could not create locale "([^"]+)"', "locale '%s' is not installed here"),
    (r'could not open collator for locale "([^"]+)"', "locale '%s' is not installed here"),
    (r'ICU locale "([^"]+)" has unknown language', "locale '%s' is not installed here"),
    (r"(ICU) is not supported in this build", "the PostgreSQL here is built without %s"),
    (r"unsupported (XML) feature", "the PostgreSQL here is built without %s"),
    (r"compression method (\S+) not supported", "the PostgreSQL here is built without %s"),
    (r"(invalid SSL protocol version range)", "%s: a drill asks no other server"),
    (r"(access to non-system foreign table is restricted)", "%s: a drill asks no other server"),
)
PATTERNS = tuple((re.compile(pattern, re.IGNORECASE), words) for pattern, words in LACKS)


def lack_of(text: str) -> str | None:
    """Return in one clause what this host lacks, or None when what PostgreSQL says is about the backup."""
    for pattern, words in PATTERNS:
        if match := pattern.search(text):
            return words % (match[1] or match[0])
    return None
