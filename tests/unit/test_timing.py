"""What the times of a service's answers say of it."""

from __future__ import annotations

import pytest

from appbuilder.cli.timing import TurnTimes, first_pieces, judge_order, judge_stream


def turn(*arrivals: float, began: float = 0.0, ended: float | None = None) -> TurnTimes:
    made = TurnTimes("s", began)
    for at in arrivals:
        made.note(at)
    made.ended = arrivals[-1] if ended is None else ended
    return made


def test_pieces_that_come_together_are_one_arrival() -> None:
    made = turn(0.1, 0.1, 0.115, 0.2)
    assert made.marks == [(0.1, 3), (0.2, 1)]
    assert made.pieces == 4


@pytest.mark.parametrize(
    ("made", "said", "ok", "text"),
    [
        (turn(0.1, 0.5, 0.9), None, True, "3 arrivals, the first after 100 ms, the last after 900 ms"),
        (turn(9.0, 9.0, 12.0), 8.8, True, "Chunks arrive as they are produced"),
        (turn(9.0, 9.0, 12.0), 0.1, False, "A proxy buffers the stream"),  # block by block
        (turn(3.0, 3.0, 3.0), 0.1, False, "A proxy buffers the stream"),
        (turn(3.0), 0.1, False, "A proxy buffers the stream"),
        (turn(3.0, 3.0), 2.9, None, "probably as they were produced"),
        (turn(0.1, 0.1), None, None, "probably as they were produced"),
        (turn(3.0, 3.0), None, None, "Either the component sends them so, or a proxy buffers"),
        (turn(3.0), None, None, "Try a --message with a longer answer"),
        (TurnTimes("s", 0.0, ended=3.0), None, None, "The answer was empty"),
    ],
)
def test_whether_something_on_the_way_buffers(
    made: TurnTimes, said: float | None, ok: bool | None, text: str
) -> None:
    check = judge_stream(made, said)
    assert check.ok is ok
    assert text in check.text


@pytest.mark.parametrize(
    ("turns", "workers", "running", "ok", "text"),
    [
        ([turn(0.1, 0.5), turn(0.6, 1.0), turn(1.0, 1.5)], 2, 1, True, "3 concurrent turns of one session"),
        ([turn(0.1, 0.5), turn(0.45, 1.0)], 2, 1, True, "in 2 workers"),  # the network's jitter
        ([turn(0.1, 0.5), turn(0.2, 0.4)], 2, 1, False, "ran at the same time"),
        ([turn(0.1, 0.5, began=7.0), turn(0.1, 0.5, began=7.3)], 1, 1, False, "ran at the same time"),
        ([turn(0.1, 0.5), turn(0.6, 1.0)], 1, 2, False, "ran at the same time"),
        ([turn(0.1), turn(0.6)], 1, 1, True, "in one worker"),
        ([turn(0.1), turn(0.6)], 0, 0, True, "in unknown workers"),
    ],
)
def test_whether_turns_of_a_session_overlap(
    turns: list[TurnTimes], workers: int, running: int, ok: bool, text: str
) -> None:
    check = judge_order(turns, workers, running)
    assert check.ok is ok
    assert text in check.text


def test_times_to_the_first_piece_in_the_metrics() -> None:
    text = """# TYPE appbuilder_first_piece_seconds histogram
appbuilder_first_piece_seconds_bucket{door="chat",le="0.1"} 2.0
appbuilder_first_piece_seconds_sum{door="chat"} 0.5
appbuilder_first_piece_seconds_count{door="chat"} 2.0
appbuilder_first_piece_seconds_sum{door="openai"} 1e-01
appbuilder_first_piece_seconds_count{door="openai"} 1.0
appbuilder_first_piece_seconds_created{door="chat"} 1.7e+09
"""
    total, count = first_pieces(text)
    assert (round(total, 6), count) == (0.6, 3)
    assert first_pieces("") == (0, 0)
