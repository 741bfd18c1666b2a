"""`llmlab widgets`: all widgets on one page, each in the light and the dark theme, on the shipped model."""

from __future__ import annotations

import argparse
import webbrowser
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output", type=Path, default=Path("widgets.html"), metavar="FILE", help="the page to write (widgets.html)"
    )
    parser.add_argument(
        "--open", action=argparse.BooleanOptionalAction, default=True, help="show it in a browser (default)"
    )


def run(arguments: argparse.Namespace) -> int:
    from ..widgets import gallery

    path = gallery.save(arguments.output).resolve()
    print(f"{path} ({path.stat().st_size / 1024:.0f} KiB)")
    if arguments.open:
        webbrowser.open(path.as_uri())
    return 0
