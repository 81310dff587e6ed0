"""Ctrl-C that comes where Python drops what is raised: inside the callback of a weakref."""

from __future__ import annotations

import signal
import weakref
from collections.abc import Iterator

import pytest

from appbuilder.cli.chat_verb import Terminal
from appbuilder.serve.server.signals import interrupts, signals


class Gone:
    """Nobody holds it."""


def interrupt_that_is_dropped() -> None:
    gone = Gone()
    kept = weakref.ref(gone, lambda _: signal.raise_signal(signal.SIGINT))
    del gone
    assert kept() is None


class Speaker:
    """A partner that is interrupted while it speaks."""

    def ask(self, _session_id: str, _text: str) -> Iterator[str]:
        yield "one "
        interrupt_that_is_dropped()
        yield "two "
        yield "three"


pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def test_what_was_noted_ends_the_program_where_serving_begins() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interrupts():
        with signals():
            pass
        interrupt_that_is_dropped()
        with pytest.raises(KeyboardInterrupt), signals():
            pytest.fail("it serves")
    assert signal.getsignal(signal.SIGINT) is before


def test_what_was_noted_stops_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    lines = iter(["hello", None])
    Terminal(Speaker(), "s").go_on(lambda: next(lines))
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("one two ", "\n(stopped)\n")
