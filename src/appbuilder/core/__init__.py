"""What a component's author touches: messages, components, the context of a turn. No I/O happens here."""
