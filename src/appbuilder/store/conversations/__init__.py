"""Conversations: their list, and what is done with one."""
