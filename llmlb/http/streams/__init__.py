"""Bytes to and from the other end of a connection: what HTTP stands on, here as there."""
