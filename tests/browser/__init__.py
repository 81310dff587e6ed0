"""Tests of the chat page in a real Chromium, each against a real server process."""
