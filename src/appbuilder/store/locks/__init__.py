"""Session locks."""
