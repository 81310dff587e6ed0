"""The seeds' names for the runtimes."""
