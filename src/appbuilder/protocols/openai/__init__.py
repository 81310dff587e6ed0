"""The OpenAI API, as its clients speak it: chat completions, responses and models; pure."""
