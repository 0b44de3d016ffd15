"""The report as one HTML page: a pure function of its JSON.

Nothing outside is asked for: style and pictures are in the page, there is no script, and a policy in its head forbids
both to whatever might get in. Every text of the document is escaped, characters that would deceive the eye are spelt
out, and each number says where in the document it stands (seen.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pgvault.instants import load_zone
from pgvault.report import pictures
from pgvault.report.headline import SAID
from pgvault.report.quality import RESULTS
from pgvault.report.seen import Seen, filters, instant, shown, shown_text
from pgvault.report.words import printable

SIGNS = {  # of standings, verdicts, levels and outcomes: colour, sign and word in each
    "good": "good",
    "watch": "watch",
    "bad": "bad",
    "unknown": "unknown",
    "kept": "good",
    "missed": "bad",
    "not measured": "unknown",
    "ok": "good",
    "warn": "watch",
    "red": "bad",
    "passed": "good",
    "failed": "bad",
    "unproven": "unknown",
    "objective missed": "watch",
    "could not run": "unknown",
}
LISTED_DRILLS = 20


def make_page(document: Mapping[str, Any]) -> str:
    """Return the page of a report's JSON."""
    zone = load_zone(str(document["time_zone"]))
    environment = Environment(
        loader=PackageLoader("pgvault", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_written,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters(zone)
    environment.globals |= {
        "sign": _sign,
        "said": SAID,
        "shown": shown,
        "pictures": pictures,
        "describe": lambda value: printable(pictures.describe(value, zone)),
        "zone": zone,
        "made_at": instant(document["made_at"]),
        "RESULTS": RESULTS,
        "LISTED_DRILLS": LISTED_DRILLS,
    }
    return environment.get_template("page.html").render(report=Seen(document))


def _sign(value: Seen | str) -> str:
    """Return which sign and colour a standing, verdict, level or outcome has; what is not known here has none."""
    return SIGNS.get(str(value), "unknown")


def _written(value: object) -> object:
    """Return what a template's expression writes: a value of the document says where it stands."""
    if isinstance(value, Seen):
        return shown_text(value)
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
