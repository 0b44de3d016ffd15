"""The quick end of `pgvault wal push`, for a segment that is stored already, and noted.

    [--config FILE] [--cluster NAME] wal push PATH        in the order people write; anything else is not for here

PostgreSQL calls once for every segment, one at a time. The call that has work to do stores the next ones too
(wal/batch.py) and notes them; theirs then end here, within a few milliseconds of Python's own start. That is why
this module imports next to nothing, and decides nothing in doubt: False sends the call the ordinary way, which is
right for every segment.
"""

from __future__ import annotations

import os

from pgvault.wal.notes import Notes, find_state, open_notes

OPTIONS = ("--config", "--cluster", "--log-format")  # each with a value
WORDS = ("wal", "push")
SEARCH_PATH = ("pgvault.yaml", "/etc/pgvault/pgvault.yaml")  # as config.py has it; held by a test
# What chooses a store beside the configuration file (HOME by ~/.aws). Secrets do not: with others it is the same.
STORE_VARIABLES = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "AWS_CONFIG_FILE", "HOME")


def is_stored(arguments: list[str]) -> bool:
    """Tell whether `arguments` push a segment that is noted as stored; its note is used up then.

    It goes before we answer: should the answer be lost, the server asks again, and the ordinary way says the same.
    """
    parsed = parse(arguments)
    if parsed is None:
        return False
    path, config, cluster = parsed
    notes = notes_of(config, cluster)
    if notes is None or not notes.vouch_for(path):
        return False
    notes.drop(os.path.basename(path))
    return True


def parse(arguments: list[str]) -> tuple[str, str | None, str | None] | None:
    """Return (path, --config, --cluster), None for any command line that is not plainly a push of one file."""
    options: dict[str, str] = {}
    words = []
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name in OPTIONS:
            options[name] = value if equals else next(rest, "")
            if not options[name] or options[name].startswith("-"):
                return None
        elif argument.startswith("-"):
            return None
        else:
            words.append(argument)
    if len(words) != len(WORDS) + 1 or tuple(words[:-1]) != WORDS:
        return None
    return words[-1], options.get("--config"), options.get("--cluster")


def notes_of(config: str | None, cluster: str | None) -> Notes | None:
    """Return the notes for that configuration, found as the ordinary way finds it; None where none can be kept."""
    found = config or os.environ.get("PGVAULT_CONFIG") or next(filter(os.path.exists, SEARCH_PATH), None)
    if found is None:
        return None
    picks = tuple(f"{name}={os.environ.get(name)}" for name in STORE_VARIABLES)
    return open_notes(find_state(os.environ.get("PGVAULT_STATE")), found, picks=(f"cluster={cluster}", *picks))
