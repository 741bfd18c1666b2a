"""`llmlab reset NN`: `python3 lab.py reset NN` from any folder, as from `work/`, where JupyterLab's terminal starts."""

from __future__ import annotations

import argparse
import subprocess
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("number", metavar="NN", help="the notebook's number, such as 05a")


def run(arguments: argparse.Namespace) -> int:
    from ..notebooks import notebooks_folder

    launcher = notebooks_folder().parent / "lab.py"
    if not launcher.is_file():
        raise FileNotFoundError(f"expected the course's launcher at {launcher}: only its copies in work/ can be reset")
    return subprocess.call([sys.executable, str(launcher), "reset", arguments.number])
