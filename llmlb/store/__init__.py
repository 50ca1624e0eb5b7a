"""Where llmlb keeps what must survive a restart; `opening` is the way in."""
