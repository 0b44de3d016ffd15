"""Verify the copies of a repository, each by itself: what is whole only together is not redundant.

    each copy       identity and keys ─► verify.py over that copy alone ─► what it lacks of the others (compare.py)
    and then        marks: which backups were read back whole from which copy (repository/verified.py)

A copy that does not answer is a problem of its own, and the others are looked at all the same. Marks are written as a
best effort: verify also works with credentials that may only read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from pgvault import __version__
from pgvault.errors import ConfigInvalid, PgvaultError, StoreDenied, StoreUnreachable
from pgvault.instants import Clock
from pgvault.progress import Progress
from pgvault.repository.catalog import read_catalog
from pgvault.repository.copies import Copy
from pgvault.repository.repository import Repository, require_unchanged
from pgvault.repository.verified import Verified, put_verified, read_verified
from pgvault.verify.alone import alone
from pgvault.verify.compare import Comparison, Held, list_segments
from pgvault.verify.identity import IDENTITY, key_documents, verify_identity
from pgvault.verify.report import Findings, VerifyReport, require_none
from pgvault.verify.selection import Selection
from pgvault.verify.verify import Verifier
from pgvault.verify.versions import Effort, verify_versions

SILENCE = (StoreDenied, StoreUnreachable)


@dataclass(frozen=True, slots=True)
class Request:
    """What to verify, and how."""

    cluster: str
    selection: Selection
    jobs: int
    only: str | None = None  # name of the only copy to look at; None: all
    keeps_marks: bool = True  # whether what was found is recorded; not where the copies' names are not known


@dataclass(slots=True)
class CopyReport:
    """What was found in one copy."""

    copy: str
    report: VerifyReport
    silence: PgvaultError | None = None  # why not all of it could be looked at


@dataclass(frozen=True, slots=True)
class Reports:
    """What was found in all of them."""

    copies: tuple[CopyReport, ...]

    def require_whole(self) -> None:
        """Raise VerifyFailed when there is any problem; what the copies said where none of them answered."""
        silences = [each.silence for each in self.copies if each.silence is not None]
        if len(silences) == len(self.copies) and not any(each.report.object_count for each in self.copies):
            raise silences[0]
        found = [(each, problem) for each in self.copies for problem in each.report.problems]
        require_none([(f"copy {each.copy!r}, {problem.what}", problem) for each, problem in found])


def verify_copies(repository: Repository, request: Request, *, progress: Progress, clock: Clock) -> Reports:
    """Look at every copy, or the one that was asked for. Raises ConfigInvalid when there is none of that name."""
    copies = chosen_copies(repository, request.only)
    marks, mark_notes = _read_marks(repository, request.cluster)
    survey = _Survey(repository, request, progress, marks, now=clock.now())
    reports = tuple(survey.look(copy) for copy in copies)
    survey.compare()
    reports[0].report.notes.extend(mark_notes)
    found = Reports(reports)
    if request.keeps_marks:
        put_marks(repository, request.cluster, found, clock=clock)
    return found


def chosen_copies(repository: Repository, only: str | None) -> tuple[Copy, ...]:
    """Return the copies to look at. Raises ConfigInvalid."""
    copies = tuple(copy for copy in repository.copies if only in (None, copy.name))
    if not copies:
        known = ", ".join(copy.name for copy in repository.copies)
        raise ConfigInvalid(f"there is no copy {only!r}", hint=f"The copies are: {known}")
    return copies


class _Survey:
    """What is known of each copy while they are looked at."""

    def __init__(
        self,
        repository: Repository,
        request: Request,
        progress: Progress,
        marks: Mapping[tuple[str, str], Verified],
        *,
        now: datetime,
    ) -> None:
        self._now = now
        self._repository = repository
        self._request = request
        self._progress = progress
        self._marks = marks
        self._found: dict[str, tuple[Held, VerifyReport]] = {}
        self._key_documents = _all_key_documents(repository.copies)

    def look(self, copy: Copy) -> CopyReport:
        """Read one copy back."""
        with self._progress.beside(copy.name) as progress:
            return self._look(copy, progress)

    def _look(self, copy: Copy, progress: Progress) -> CopyReport:
        request = self._request
        marked = frozenset(label for label, name in self._marks if name == copy.name)
        verifier = Verifier(
            alone(self._repository, copy),
            request.cluster,
            jobs=request.jobs,
            progress=progress,
            selection=replace(request.selection, marked=marked),
        )
        verifier.explain_by(self._repository)
        found = CopyReport(copy.name, verifier.report)
        try:
            findings = Findings(progress, verifier.report)
            verify_identity(self._repository, copy, findings, elsewhere=self._key_documents)
            verifier.run()
            catalog = verifier.catalog
            assert catalog is not None
            if request.selection.takes_wal:
                effort = Effort(request.selection, request.jobs, self._now)
                verify_versions(self._repository, copy, request.cluster, findings, effort=effort)
            segments = list_segments(alone(self._repository, copy), request.cluster)
        except SILENCE as error:
            found.silence = error
            verifier.report.is_cut_short = True
            Findings(progress, verifier.report).note("store", error)
        else:
            self._found[copy.name] = Held(copy, catalog, segments), verifier.report
        return found

    def compare(self) -> None:
        """Say of each copy what it lacks of the others."""
        self._progress.phase("comparing copies")
        deciding = self._repository.deciding
        held = self._held(deciding)
        for name, (further, report) in self._found.items():
            if name == deciding.name:
                continue
            if held is None:
                report.notes.append(f"copy {deciding.name!r} does not answer: what else should be here is not known")
                continue
            self._comparison(further).with_deciding(held, report)
        if deciding.name in self._found:
            mine, report = self._found[deciding.name]
            for name, (further, _) in self._found.items():
                if name != deciding.name:
                    self._comparison(mine).with_further(further, report)

    def _comparison(self, held: Held) -> Comparison:
        return Comparison(self._repository, self._request.cluster, held, self._marks)

    def _held(self, copy: Copy) -> Held | None:
        """What a copy holds, though it may not have been asked for; None when it does not answer."""
        if copy.name in self._found:
            return self._found[copy.name][0]
        if self._request.only is None:
            return None  # it was looked at, and fell silent
        try:
            one = alone(self._repository, copy)
            return Held(copy, read_catalog(one, self._request.cluster), list_segments(one, self._request.cluster))
        except SILENCE:
            return None


def _all_key_documents(copies: Sequence[Copy]) -> set[str]:
    """Return the names of the key documents that any copy has, of those that answer."""
    names: set[str] = set()
    for copy in copies:
        with suppress(*SILENCE):
            names |= key_documents(copy)
    return names


def _read_marks(repository: Repository, cluster: str) -> tuple[Mapping[tuple[str, str], Verified], list[str]]:
    try:
        return read_verified(repository, cluster), []
    except SILENCE as error:
        return {}, [f"what was verified before is not known: {error}"]


def put_marks(repository: Repository, cluster: str, reports: Reports, *, clock: Clock) -> None:
    """Record which backups are whole in which copy, and which are not any more. What hinders that is a note.

    Nothing goes into a first copy that is no repository any more: not into the directory below a disk that is away.
    """
    try:
        require_unchanged(repository)
    except PgvaultError as error:
        reports.copies[0].report.notes.append(f"what was found could not be recorded: {error}")
        return
    marks, _ = _read_marks(repository, cluster)
    for each in reports.copies:
        for mark in _new_marks(each, marks, clock):
            try:
                put_verified(repository, cluster, mark)
            except PgvaultError as error:
                each.report.notes.append(f"what was found could not be recorded: {error}")
                break


def _new_marks(found: CopyReport, marks: Mapping[tuple[str, str], Verified], clock: Clock) -> Iterator[Verified]:
    report = found.report
    damaged = {label for label, copy in marks if copy == found.copy and report.problems_of(label)}
    is_usable = not any(problem.what == IDENTITY for problem in report.problems)
    whole = [label for label in report.read_whole if is_usable and not report.problems_of(label)]
    for label in (*whole, *sorted(damaged)):
        count, size = report.read_whole.get(label, (0, 0))
        by = f"pgvault {__version__}"
        yield Verified(label, found.copy, clock.now(), count, size, by, is_whole=label not in damaged)
