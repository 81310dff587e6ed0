"""Applications published on AppBuilder, as components: ``client``, and ``handler`` for tool calls."""
