"""Tables of the service alone."""
