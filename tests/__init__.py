"""The tests. A package, because a library installs one of this name too, and that would win otherwise."""
