from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from pgvault.monitor.finding import ok, unjudged
from pgvault.report.document import Report
from pgvault.report.page import make_page
from tests.report.pages import Page, numbers, read_page, resolve
from tests.report.sample import broken_findings, drill, found, make_cluster, make_report

EVIL = "<script>alert('x')</script>\"'&"
TURNED = "abc\u202edef\u0007\u2066"
# Numbers that a page of a cluster need not show by themselves.
NOT_SHOWN = re.compile(
    r"/report|/clusters/\d+/("
    r"findings/\d+/figures/.*"  # their detail tells them, in words
    r"|window/lanes/\d+/(bars|holes)/\d+/timeline"
    r"|quality/checks/\d+/(live|drill)/\d+/measured"  # in the words of its square
    r"|quality/checks/\d+/threshold"  # of checks that are not the operator's own
    r"|window/lanes/1/.*)"  # of a copy that was not read
)


def page_of(report: Report) -> tuple[Page, dict[str, Any], str]:
    """The page, the JSON that it was made of, and its text."""
    document = json.loads(json.dumps(report.to_json()))
    html = make_page(document)
    return read_page(html), document, html


def test_every_number_of_the_page_is_that_of_the_document() -> None:
    """Each element that says where it comes from has what stands there."""
    page, document, _ = page_of(make_report(make_cluster(), make_cluster(findings=broken_findings())))

    told = [element for element in page.elements if element.pointer is not None]
    assert len(told) > 300
    for element in told:
        assert element.value == resolve(document, element.pointer or ""), element


def test_every_number_of_the_document_is_on_the_page() -> None:
    """But for the few that are told in words."""
    page, document, _ = page_of(make_report())

    told = {element.pointer for element in page.elements}
    missing = [
        where
        for where, value in numbers(document)
        if where not in told and not NOT_SHOWN.fullmatch(where) and not (where.endswith("/failed_count") and value == 0)
    ]
    assert missing == []


def test_numbers_carry_units() -> None:
    """Spans, sizes, shares, instants in the configuration's zone."""
    page, _, _ = page_of(make_report())

    first = "/clusters/0/"
    assert page.at(first + "objectives/0/measured")[0].text == "41 min"
    assert page.at(first + "backups/0/size_bytes")[0].text == "45.0 GiB"
    assert page.at(first + "backups/0/duration_seconds")[0].text == "14 min"
    rate = next(each for each in page.elements if each.attributes.get("data-value") == "0.9995")
    assert rate.text == "99.95 %"
    assert page.at("/made_at")[0].text == "2026-11-21 09:00"
    assert "Europe/Berlin" in page.text


def test_a_page_asks_for_nothing_outside() -> None:
    """No script, no style, font or picture from elsewhere; its own policy forbids them, too."""
    page, _, html = page_of(make_report())

    assert page.outside() == []
    assert {element.tag for element in page.elements}.isdisjoint({"script", "iframe", "img", "object", "embed", "form"})
    assert re.findall(r"https?://|url\((?!#)|@import", html) == []
    assert "default-src 'none'" in html


def test_texts_of_the_repository_are_text() -> None:
    """Names of checks, clusters and classes, rows, details, errors: nothing in them is markup."""
    failed = drill(1, "failed", found(EVIL, "failed", sample=[EVIL], detail=EVIL), error=EVIL, target=EVIL)
    cluster = replace(make_cluster([failed]), cluster=EVIL, not_tested=(EVIL,), left_out=(EVIL,))
    assert cluster.window is not None
    lane = cluster.window.lanes[0]
    lane = replace(
        lane,
        copy=EVIL,
        backups=(replace(lane.backups[-1], label=EVIL, type=EVIL),),
        bars=(replace(lane.bars[0], standing=EVIL),),
        holes=(replace(lane.holes[0], cause=EVIL),),
        proofs=(replace(lane.proofs[0], drill=EVIL, outcome=EVIL),),
        not_restorable=(EVIL,),
    )
    cluster = replace(cluster, window=replace(cluster.window, lanes=(lane,)))
    reading = {"copies": [EVIL], "unread_copies": [{"copy": EVIL, "error": EVIL}], "healed": []}

    page, document, html = page_of(make_report(cluster, reading=reading))

    assert "<script" not in html
    assert {element.tag for element in page.elements}.isdisjoint({"script"})
    assert page.text.count("<script>alert('x')</script>") > 8
    assert all(
        element.value == resolve(document, element.pointer or "") for element in page.elements if element.pointer
    )


def test_what_turns_the_direction_of_reading_is_spelt_out() -> None:
    """Control characters, too; in names, and in what is only shown by pointing at it."""
    failed = drill(1, "failed", found(TURNED, "failed", sample=[TURNED]), error=TURNED)
    page, _, html = page_of(make_report(replace(make_cluster([failed]), cluster=TURNED)))

    assert re.findall("[\u0000-\u0008\u000b-\u001f\u200e\u200f\u202a-\u202e\u2066-\u2069]", html) == []
    assert r"abc\u202edef\x07\u2066" in page.text


def test_no_drill_is_never_green() -> None:
    """The headline, the objectives, the picture and the lists say so."""
    page, _, _ = page_of(make_report(replace(make_cluster([]), not_tested=())))

    (card,) = [element for element in page.elements if element.attributes.get("class", "").startswith("card")]
    assert card.attributes["class"] == "card unknown"
    assert "no drill has measured it yet" in page.text
    assert "no drill yet: nobody has seen that this can be restored" in page.text
    assert page.at("/clusters/0/objectives/0/verdict")[0].value == "not measured"
    assert "everything: no drill has run" in page.text


def test_a_copy_that_did_not_answer_is_told() -> None:
    """At the top, and in its lane."""
    page, _, _ = page_of(make_report())

    assert page.text.count("the store does not answer") == 2
    assert "Read from copy primary" in page.text


def test_a_report_without_clusters_says_nothing() -> None:
    """And is red."""
    page, _, _ = page_of(replace(make_report(), clusters=()))

    assert "No cluster was looked at" in page.text


def test_data_quality_alone() -> None:
    """The same page without the rest."""
    page, document, _ = page_of(make_report(scope="quality"))

    text = page.text
    assert "Data quality" in text
    assert "order_id=4711" in text
    assert "What was promised" not in text
    assert all(
        element.value == resolve(document, element.pointer or "") for element in page.elements if element.pointer
    )


def test_signs_do_not_rest_on_colour() -> None:
    """Each of the squares draws the sign of its verdict, and says it in words."""
    page, _, _ = page_of(make_report())

    squares = [element for element in page.elements if element.attributes.get("data-at", "").endswith("/verdict")]
    drawn = {(element.value, element.attributes["href"]) for element in squares if element.tag == "use"}
    assert drawn == {("passed", "#s-good"), ("failed", "#s-bad"), ("unproven", "#s-unknown")}


def test_what_nobody_judged_is_not_green() -> None:
    """Nothing is scheduled, so nothing is wrong; a tick would say that something was shown to be well."""
    findings = [ok("backup", "an hour old"), unjudged("schedule", "backup: not scheduled here")]

    page = make_page(make_report(make_cluster(findings=findings)).to_json())

    shown = re.findall(r'<li class="(\w+)">.*?>(backup|schedule)</bdi>', page, re.DOTALL)
    assert {name: kind for kind, name in shown} == {"backup": "good", "schedule": "unknown"}
