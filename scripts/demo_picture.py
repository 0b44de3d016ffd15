#!/usr/bin/env python3
"""Render what `scripts/demo` prints as the picture of the README.

    .venv/bin/python scripts/demo_picture.py [RECORDING] > scripts/demo.svg        without a recording the demo is run

The lines are the demo's own. Some of the checks that passed are left out, and counted; the directory, labels and
instants are made the same for every run and every host.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from pgvault.process import run

WIDTH = 112  # columns
LABEL, AT = "20260115T103000Z-f7c2", "2026-01-15 10:30:14+00:00"
SAME = (
    (re.compile(r"\S*/pgvault-demo-[0-9a-f]+"), "/tmp/demo"),  # noqa: S108  a text
    (re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{4}"), LABEL),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00"), AT),
)
SHOWN = ("connects:", "page_checksums", "rows", "pg_amcheck", "foreign_keys", "unique")  # of the built-in checks
OWN = ("orphaned_orders", "order_totals", "balances_match_transactions", "duplicate_emails")  # of the shop's
STYLES = {"ok": "green", "FAIL": "bold red", "warn": "yellow", "?": "yellow"}
FONTS = re.compile(r" *@font-face \{.*?\}\n", re.DOTALL)
CHECK = re.compile(r" {10}(ok|FAIL|warn|\?) +([^:]+:?)")


def main(arguments: list[str]) -> None:
    """Write the picture to stdout."""
    demo = [sys.executable, "-m", "pgvault", "demo"]
    sys.stdout.write(render(Path(arguments[0]).read_text() if arguments else run(demo, timeout=600)))


def render(recording: str) -> str:
    """Return the picture of what a demo printed."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), highlight=False, color_system="truecolor")
    console.print(Text.assemble(("$ ", "bold green"), ("scripts/demo", "bold")))
    for line in chosen(recording.splitlines()):
        console.print(styled(line), no_wrap=True, overflow="ellipsis")
    # Without its fonts from elsewhere: whoever looks at a picture asks nobody for anything.
    return FONTS.sub("", console.export_svg(title="pgvault", unique_id="pgvault-demo"))


def chosen(lines: list[str]) -> list[str]:
    """Return the lines that are shown, and what stands for those that are not."""
    checks = [line for line in lines if CHECK.match(line)]
    kept = {line for line in checks if _is_shown(line)}
    shown: list[str] = []
    left_out = len(checks) - len(kept)
    for line in lines:
        if line in kept or not CHECK.match(line):
            shown.append(line)
        if checks and line == checks[-1] and left_out:
            shown.append(f"{'':10}…    and {left_out} more")
    return [_same(line) for line in shown]


def _is_shown(line: str) -> bool:
    """Tell whether a check is shown: some that passed, and whatever did not."""
    found = CHECK.match(line)
    return found is not None and (found[1] != "ok" or found[2].startswith((*SHOWN, *OWN)))


def _same(line: str) -> str:
    for pattern, text in SAME:
        line = pattern.sub(text, line)
    return line


def styled(line: str) -> Text:
    """Return a line in colours: how long a step took, what it was, and a verdict."""
    text = Text(line)
    if found := CHECK.match(line):
        text.stylize(STYLES[found[1]], found.start(1), found.end(1))
    elif found := re.match(r" *[\d.]+ \w+  ([^:]+):", line):
        text.stylize("cyan", 0, found.start(1))
        text.stylize("bold", found.start(1), found.end(1))
    elif line.startswith("PASSED"):
        text.stylize("bold green")
    return text


if __name__ == "__main__":
    main(sys.argv[1:])
