"""The service's own transport: ASGI, every front door on one port."""
