"""What is told, when, and to whom: all of it without telling anybody."""

from __future__ import annotations

from pgvault.alerts.plan import delivered
from pgvault.alerts.state import State
from pgvault.errors import StoreUnreachable
from pgvault.monitor.finding import Figures, ok, red, warn
from pgvault.monitor.status import ClusterStatus
from tests.alerts.samples import GAP, NOW, after, alerts, failed_check, look, planned, router, said, told


def test_a_new_red_is_told_once() -> None:
    """The same finding with other figures is the same alert."""
    state, first = told(look(GAP))
    moved = red("gap", "000000010000000000000008 is missing", {"start_lsn": "0/8000000"})

    _, second = told(look(moved, at=after(minutes=1)), state)

    assert first == [("pager", "trigger", "main/gap")]
    assert second == []


def test_what_is_well_is_not_told() -> None:
    """Neither what is fine, nor that nothing was ever wrong."""
    assert told(look(ok("backup", "3 h ago")))[1] == []


def test_what_is_over_is_told_to_those_who_were_told() -> None:
    """A finding that is well again, or does not show any more; once."""
    state, _ = told(look(GAP, red("backup", "stale")))

    state, first = told(look(ok("backup", "just now"), at=after(minutes=1)), state)
    _, second = told(look(ok("backup", "just now"), at=after(minutes=2)), state)

    assert first == [("pager", "resolve", "main/gap"), ("pager", "resolve", "main/backup")]
    assert second == []


def test_it_comes_back_as_a_new_one() -> None:
    """After it was over."""
    state, _ = told(look(GAP))
    state, _ = told(look(at=after(minutes=1)), state)

    assert told(look(GAP, at=after(minutes=2)), state)[1] == [("pager", "trigger", "main/gap")]


def test_what_stays_red_is_told_again_in_time() -> None:
    """After `repeat`, counted from when it was told last; a warning is told once."""
    state, _ = told(look(GAP, warn("clocks", "apart")))

    state, early = told(look(GAP, warn("clocks", "apart"), at=after(hours=3, minutes=59)), state)
    state, due = told(look(GAP, warn("clocks", "apart"), at=after(hours=4)), state)
    _, again = told(look(GAP, warn("clocks", "apart"), at=after(hours=5)), state)

    assert (early, due, again) == ([], [("pager", "repeat", "main/gap")], [])


def test_worse_is_news_and_better_is_over_for_whoever_hears_of_red_alone() -> None:
    """A warning that becomes red, and red that becomes a warning."""
    state, first = told(look(warn("copy lag", "10 min")))
    state, worse = told(look(red("copy lag", "20 min"), at=after(minutes=1)), state)
    _, better = told(look(warn("copy lag", "10 min"), at=after(minutes=2)), state)

    assert first == [("slack", "trigger", "main/copy lag")]
    assert worse == [("pager", "trigger", "main/copy lag"), ("slack", "resolve", "main/copy lag")]
    assert better == [("slack", "trigger", "main/copy lag"), ("pager", "resolve", "main/copy lag")]


def test_who_was_told_a_warning_hears_that_it_is_red() -> None:
    """Also where both go to the same place."""
    by = router(alerts(routes={}))
    state, _ = told(look(warn("copy lag", "10 min")), by=by)

    _, worse = told(look(red("copy lag", "20 min"), at=after(minutes=1)), state, by=by)

    assert worse == [("slack", "trigger", "main/copy lag")]


def test_what_was_not_taken_is_told_by_the_next_look() -> None:
    """Only to the receiver that did not take it; the end of something, too."""
    by = router(alerts(routes={"red": ["pager", "slack"]}))
    plan = planned(look(GAP), State(), by=by)
    taken = [each for each in plan.sendings if each.receiver == "slack"]
    state = delivered(plan.state, taken, NOW)

    state, second = told(look(GAP, at=after(minutes=1)), state, by=by)
    ended = planned(look(at=after(minutes=2)), state, by=by)
    _, last = told(look(at=after(minutes=3)), delivered(ended.state, ended.sendings[:1], after(minutes=2)), by=by)

    assert second == [("pager", "trigger", "main/gap")]
    assert said(ended.sendings[1:]) == last


def test_what_can_not_be_seen_is_not_over() -> None:
    """A repository or server that does not answer, or a look that failed, hides what it would show."""
    blind = [
        look(red("repository", "gone"), at=after(minutes=1)),
        look(red("server", "down"), at=after(minutes=1)),
        look(red("reading", "copy 'primary', the first, is not read"), at=after(minutes=1)),
        look(warn("checks", "unknown: no answer", {"failed_look": True}), at=after(minutes=1)),
        look(ok("server", "18"), at=after(minutes=1), error=StoreUnreachable("gone")),
    ]
    state, _ = told(look(GAP))

    for found in blind:
        assert not [each for each in told(found, state)[1] if each[1] == "resolve"]
    never = warn("verify", "unknown: no backup was ever read back", {"copy": "primary"})
    for found in (look(ok("server", "18"), at=after(minutes=1)), look(never, at=after(minutes=1))):
        assert ("pager", "resolve", "main/gap") in told(found, state)[1]


def test_what_is_unknown_now_stays_as_it_was() -> None:
    """Red, then unknown: neither over nor better; it goes on to be told as red."""
    state, _ = told(look(red("drill", "failed")))
    state, unknown = told(look(warn("drill", "unknown: no answer"), at=after(minutes=1)), state)
    _, later = told(look(warn("drill", "unknown: no answer"), at=after(hours=5)), state)

    assert unknown == []
    assert later == [("pager", "repeat", "main/drill")]


def test_several_of_one_kind_are_one_alert() -> None:
    """Three gaps are one page; a copy or a check of its own is an alert of its own."""
    copies = [red("copy lag", f"{name}: late", {"copy": name}) for name in ("dr", "s3")]

    plan = planned(look(GAP, GAP, GAP, *copies), State())

    assert said(plan.sendings) == [
        ("pager", "trigger", "main/gap"),
        ("pager", "trigger", "main/copy lag/copy=dr"),
        ("pager", "trigger", "main/copy lag/copy=s3"),
    ]
    assert plan.sendings[0].alert.detail.endswith("(and 2 more)")


def test_another_cluster_is_another_hosts_to_tell() -> None:
    """Two hosts that watch different clusters of one repository leave each other's alerts alone."""
    state, _ = told(look(GAP))
    other = look(at=after(minutes=1))
    other = type(other)((ClusterStatus("other", (ok("backup", "now"),), None),), other.now)

    _, said_then = told(other, state)

    assert said_then == []


def test_a_run_of_checks_says_nothing_of_anything_else() -> None:
    """Right after a run, its failures are told, what passed is over, and all else is left alone."""
    state, _ = told(look(GAP, failed_check("orphans"), failed_check("stock")))
    figures: Figures = {"check": "orphans", "severity": "critical", "where": "live", "failures": 0}
    after_run = look(ok("check", "passed", figures), failed_check("emails"), at=after(minutes=1), is_whole=False)

    state, at_once = told(after_run, state)
    whole = look(
        GAP, ok("check", "passed", figures), failed_check("emails"), failed_check("stock"), at=after(minutes=2)
    )

    assert sorted(at_once) == [
        ("pager", "resolve", "main/check/check=orphans/where=live"),
        ("pager", "trigger", "main/check/check=emails/where=live"),
    ]
    assert told(whole, state)[1] == []


def test_a_notifier_does_not_tell_of_itself_and_sums_are_not_told_twice() -> None:
    """Whoever tells lives; and each check has a finding of its own."""
    checks = red("checks", "1 do not", {"failing": 1})

    assert told(look(red("notifier", "none ever left a notice"), checks))[1] == []


def test_the_action_of_a_check_leads() -> None:
    """Before the finding's name, its severity, its level, and the default."""
    routes = {"page_oncall": "pager", "alert_slack": "slack", "gap": ["slack", "pager"], "high": "pager", "warn": "off"}
    checks = [{"name": "a", "action": "page_oncall"}, {"name": "b", "action": "alert_slack"}, {"name": "c"}]
    by = router(alerts(routes=routes), *checks, {"name": "d", "action": "call_nobody"})
    found = look(
        failed_check("a"), failed_check("b"), failed_check("c", severity="high"), failed_check("d"), GAP, warn("x", "y")
    )

    assert [(who, key.partition("check=")[2][:1] or key) for who, _, key in told(found, by=by)[1]] == [
        ("pager", "a"),
        ("slack", "b"),
        ("pager", "c"),
        ("slack", "d"),
        ("slack", "main/gap"),
        ("pager", "main/gap"),
    ]


def test_nobody_is_paged_for_what_is_not_known() -> None:
    """A check that never ran did not fail."""
    by = router(alerts(routes={"page_oncall": "pager"}), {"name": "a", "action": "page_oncall"})
    figures: Figures = {"check": "a", "severity": "critical", "where": "live", "count": 0}

    _, said_then = told(look(warn("check", "unknown: a never ran on the live server", figures)), by=by)

    assert said_then == [("slack", "trigger", "main/check/check=a/where=live")]


def test_without_a_default_everybody_is_told() -> None:
    """What no route names is not told to nobody."""
    _, said_then = told(look(GAP), by=router(alerts(routes={}, default=None)))

    assert [who for who, _, _ in said_then] == ["pager", "slack"]


def test_what_is_known_survives_being_stored() -> None:
    """A state that was written is read as it was."""
    state, _ = told(look(GAP, failed_check()))

    assert State.from_json(state.to_json(), where="x") == state


def test_two_memories_become_one() -> None:
    """Of an alert that changed in both, the younger word counts; others stay."""
    ours, _ = told(look(GAP))
    theirs, _ = told(look(at=after(minutes=5)), ours)

    assert not ours.merged(theirs, ["main/gap"]).alerts["main/gap"].is_open
    assert not theirs.merged(ours, ["main/gap"]).alerts["main/gap"].is_open
    assert ours.merged(theirs, []) == ours


def test_what_is_long_over_is_forgotten() -> None:
    """And so is what was open in a cluster at which nobody has looked for a week."""
    state, _ = told(look(GAP))
    ended, _ = told(look(at=after(minutes=1)), state)

    assert "main/gap" in ended.pruned(after(hours=23)).alerts
    assert "main/gap" not in ended.pruned(after(hours=25)).alerts
    assert "main/gap" in state.pruned(after(days=6)).alerts
    assert "main/gap" not in state.pruned(after(days=8)).alerts


def test_what_flaps_is_not_told_each_time() -> None:
    """Bad and well again at every look, for an hour: twice, then once when it has been well for half an hour."""
    state, heard = State(), []
    for minute in range(60):
        found = look(*([GAP] if minute % 2 == 0 else []), at=after(minutes=minute))
        state, now_told = told(found, State.from_json(state.to_json(), where="notice"))
        heard += [event for _, event, _ in now_told]
    calm = [told(look(at=after(minutes=minute)), state)[1] for minute in (80, 89)]

    assert heard == ["trigger", "resolve", "trigger"]
    assert calm == [[], [("pager", "resolve", "main/gap")]]
