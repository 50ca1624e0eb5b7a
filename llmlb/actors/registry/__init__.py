"""Which endpoints there are, in what state, and what models they list."""

from llmlb.actors.registry.registry import EndpointRegistry

__all__ = ["EndpointRegistry"]
