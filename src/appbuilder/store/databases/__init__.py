"""The databases: drivers, connections, transactions."""
