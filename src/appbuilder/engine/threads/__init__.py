"""Threads and event loops that turns run on."""
