"""Programs that the browser tests serve."""
