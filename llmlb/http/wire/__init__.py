"""Connections of `llmlb serve`: who is listened to, how long, and in which words."""
