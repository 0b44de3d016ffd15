"""Open a repository for commands that only read: whichever of its copies there are, or one of them alone.

A copy that is left out is said on stderr and in the result (repository/telling.py); so is what had to come from
another copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pgvault.cli.opening import OpenedCluster, RepositorySource, make_copies, name_cluster, read_credential
from pgvault.config import Config
from pgvault.errors import ConfigInvalid, Refused
from pgvault.repository.copies import LeftOut
from pgvault.repository.opening import open_for_reading
from pgvault.repository.repository import Repository
from pgvault.stores.retry import Patience
from pgvault.wal.fetchplan import FetchPlan

# Where there is another copy, nobody waits a minute for this one.
IMPATIENCE = Patience(deadline_seconds=20.0, read_seconds=10.0, answer_seconds=20.0)


def open_to_read(
    config: Config, *, only: Sequence[str] = (), patience: Patience | None = None, looks_at_all: bool = True
) -> Repository:
    """Open what a configuration describes; `only` names copies, in the order in which they are asked.

    Raises ConfigInvalid for a copy that there is none of, and what `open_for_reading` raises.
    """
    known = config.repository.copies
    for name in only:
        if name not in known:
            raise ConfigInvalid(f"the configuration has no copy {name!r}", hint=f"It has: {', '.join(known)}.")
    names = list(only or known)
    if len(names) > 1:
        patience = impatient(patience)
    chosen = config.model_copy(
        update={"repository": config.repository.model_copy(update={"copies": {name: known[name] for name in names}})}
    )
    repository = open_for_reading(
        make_copies(chosen, patience=patience), read_credential(config), looks_at_all=looks_at_all
    )
    deciding = next(iter(known))
    if names[0] == deciding:
        return repository
    refused = Refused(f"only {' and '.join(names)} may be touched")
    others = tuple(replace(each, is_deciding=False) for each in repository.left_out)
    return replace(repository, left_out=(LeftOut(deciding, refused, is_deciding=True), *others))


def open_cluster_to_read(
    source: RepositorySource,
    name: str | None,
    *,
    only_copy: str | None = None,
    patience: Patience | None = None,
    looks_at_all: bool = True,
) -> OpenedCluster:
    """Open the named cluster, or the only one, as `open_to_read` does."""
    config = source.load()
    only = () if only_copy is None else (only_copy,)
    repository = open_to_read(config, only=only, patience=patience, looks_at_all=looks_at_all)
    return name_cluster(source, config, repository, name)


def open_cluster_to_verify(source: RepositorySource, name: str | None) -> OpenedCluster:
    """Open the named cluster, or the only one, with all its copies, also those that are not there: each is judged."""
    config = source.load()
    return name_cluster(source, config, open_every_copy(config), name)


def open_every_copy(config: Config) -> Repository:
    """Open what a configuration describes with all its copies, also those that are not there."""
    copies = make_copies(config, patience=impatient(None) if len(config.repository.copies) > 1 else None)
    return replace(open_for_reading(copies, read_credential(config)), copies=tuple(copies), left_out=())


def open_copies_of(plan: FetchPlan, config: Config, *, patience: Patience) -> Repository:
    """Open the copies that a plan names, as far as the configuration still knows them; nothing is asked needlessly."""
    only = [name for name in plan.copies if name in config.repository.copies]
    return open_to_read(config, only=only, patience=patience, looks_at_all=False)


def impatient(patience: Patience | None) -> Patience:
    """Return how long a copy may take that is not the only one."""
    if patience is None:
        return IMPATIENCE
    return replace(
        patience,
        deadline_seconds=min(patience.deadline_seconds, IMPATIENCE.deadline_seconds),
        read_seconds=min(patience.read_seconds, IMPATIENCE.read_seconds),
        answer_seconds=min(patience.answer_seconds, IMPATIENCE.answer_seconds),
    )
