"""Turns in the SDK's one table."""
