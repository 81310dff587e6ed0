"""The SDK's names of the modules of the runtimes."""
