"""Anything that answers a message, as an agent."""
