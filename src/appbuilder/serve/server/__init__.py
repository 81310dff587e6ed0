"""The ASGI server: connections, workers, signals."""
