"""Programs that the tests serve."""
