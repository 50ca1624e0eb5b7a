"""Which endpoints stand in llmlb.toml, and how the stored ones come to agree with it."""

from llmlb.declared.applying import apply_declared

__all__ = ["apply_declared"]
