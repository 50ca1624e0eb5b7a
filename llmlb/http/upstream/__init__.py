"""Calls to endpoints: the interface, the faults, and one implementation of it."""
