"""How a language model is reached. Knows no session."""
