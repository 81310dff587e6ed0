"""Transports: parse with wire, run with engine, write with wire."""
