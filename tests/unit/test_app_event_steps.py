"""An application's events as steps of a run: one step per event, told anew while it goes on."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from appbuilder.components.app_client.event_steps import StepRecorder
from appbuilder.components.app_client.schemas import Event
from appbuilder.events import Step

EVENTS = st.lists(
    st.builds(
        lambda kind, number, status, code, text: Event(
            event_type=kind, event_id=number, status=status, code=code, message="why" if code else "",
            detail={} if text is None else {"text": text},
        ),  # type: ignore[call-arg]
        st.sampled_from(["ChatAgent", "rag", ""]),
        st.sampled_from(["1", "2"]),
        st.sampled_from(["preparing", "running", "running", "running", "done", "error"]),
        st.sampled_from([0, 0, 0, 7]),
        st.one_of(st.none(), st.text(max_size=30)),
    ),
    max_size=30,
)


@given(EVENTS)
def test_one_step_per_event_with_its_text_joined(events: list[Event]) -> None:
    told: list[Step] = []
    deeds = StepRecorder(told.append)
    for event in events:
        deeds.tell(event)
    deeds.end()
    last = {step.id: step for step in told}
    expected: dict[Any, list[Event]] = {}
    for event in events:
        if event.event_type:
            expected.setdefault((event.event_type, event.event_id), []).append(event)  # type: ignore[attr-defined]
    assert [step.name for step in last.values()] == [name for name, _ in expected]
    for step, group in zip(last.values(), expected.values(), strict=True):
        texts = [event.detail["text"] for event in group if event.detail]
        assert step.detail.get("text", "") == "".join(texts)
        failed = group[-1].code != 0 or group[-1].status == "error"
        assert bool(step.error) is failed
        assert step.ended
        assert {each.started_at for each in told if each.id == step.id} == {step.started_at}


def test_a_long_text_is_not_told_anew_with_every_piece() -> None:
    told: list[Any] = []
    deeds = StepRecorder(told.append)
    for _ in range(10_000):
        deeds.tell(Event(event_type="ChatAgent", status="running", detail={"text": "字"}))
    deeds.end()
    assert told[-1].detail == {"text": "字" * 10_000}
    assert sum(len(step.detail["text"]) for step in told) < 50_000
    assert told[1].detail == {"text": "字字"}


def test_nobody_watches() -> None:
    deeds = StepRecorder(None)
    deeds.tell(Event(event_type="x"))
    deeds.end()
