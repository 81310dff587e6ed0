"""Components that come with the package."""
