"""The Flask application and its servers."""
