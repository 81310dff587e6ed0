"""The programs that are measured. Each runs in a server process of its own, started by the bench."""
