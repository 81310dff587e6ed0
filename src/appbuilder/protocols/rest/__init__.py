"""Sessions, turns and runs as JSON, and as files."""
