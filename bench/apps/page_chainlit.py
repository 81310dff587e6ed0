"""Chainlit by hand, without this product: what a developer would write; nothing is stored."""

from __future__ import annotations

import chainlit as cl

from bench.apps import text


@cl.on_message
async def on_message(message: cl.Message) -> None:
    # In a thread: a component that waits for its model on the event loop would stop all other users.
    pieces = text.asked(message.content)
    take = cl.make_async(lambda: next(pieces, None))
    answer = cl.Message(content="")
    while (piece := await take()) is not None:
        await answer.stream_token(piece)
    await answer.send()  # type: ignore[no-untyped-call]
