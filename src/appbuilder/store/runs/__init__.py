"""Live runs, in the database of the service."""
