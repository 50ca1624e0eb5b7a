"""Groups of commands of the `llmlb` command, one file each."""
