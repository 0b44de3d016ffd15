from __future__ import annotations

import os
import signal

import pytest

from pgvault.cli.signals import SIGNALS, leaving_in_order


@pytest.mark.parametrize("number", SIGNALS)
def test_who_is_told_to_end_says_so(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    """A job's status alone does not tell a drill that was ended from one that could not run."""
    before = signal.getsignal(number)

    with pytest.raises(SystemExit) as raised, leaving_in_order(52):
        os.kill(os.getpid(), number)

    assert raised.value.code == 52
    assert capsys.readouterr().err == f"error: ended by {number.name}\n"
    assert signal.getsignal(number) is before


def test_who_ends_by_itself_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with leaving_in_order(52):
        pass

    assert capsys.readouterr().err == ""
