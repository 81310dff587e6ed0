"""Who may use the service, and as whom."""
