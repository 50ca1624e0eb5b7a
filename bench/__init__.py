"""How fast the balancer is, measured."""
