"""The command: counts, and prints the figures as JSON; `--record` makes them the measure."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.instructions.figures import measure
from tests.instructions.recorded import measured_apart, record


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.instructions", description=__doc__)
    parser.add_argument("--record", action="store_true")
    if parser.parse_args().record:
        figures = measured_apart()
        record(figures)
    else:
        with TemporaryDirectory() as directory, redirect_stdout(sys.stderr):
            figures = measure(Path(directory))
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
