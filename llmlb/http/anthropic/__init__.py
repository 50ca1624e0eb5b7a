"""The Anthropic dialect: requests, answers, streams and errors, translated from and to chat."""
