"""How fast llmlb is, beside others, on this machine: `python -m bench --help`."""
