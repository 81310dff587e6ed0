"""What `adk api_server` loads."""
