"""Conversations in SQL: SQLite, PostgreSQL, MariaDB/MySQL; and in memory, for tests."""
