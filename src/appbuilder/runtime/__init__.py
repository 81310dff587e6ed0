"""The SDK's names for the runtimes."""
