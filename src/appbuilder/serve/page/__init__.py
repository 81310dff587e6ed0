"""The chat page: Chainlit's page over our engine and store."""
