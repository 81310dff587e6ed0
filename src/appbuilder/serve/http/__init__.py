"""The service's own transport: ASGI, every protocol on one port."""
