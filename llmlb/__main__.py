"""`python -m llmlb` is `llmlb`."""

from llmlb.cli import main

if __name__ == "__main__":
    main()
