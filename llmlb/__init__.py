"""One OpenAI-compatible address in front of your own inference servers."""

__version__ = "0.1.0"
