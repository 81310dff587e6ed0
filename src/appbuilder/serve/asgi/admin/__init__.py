"""The admin page: a look into everybody's sessions, live runs and keys."""
