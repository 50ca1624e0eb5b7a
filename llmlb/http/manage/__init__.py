"""The management API: what an operator can see and change."""
