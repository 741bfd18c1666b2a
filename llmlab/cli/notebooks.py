"""`llmlab notebooks run|check [FILES]`: the work is done in `llmlab.notebooks`, which has its own options."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "arguments", nargs=argparse.REMAINDER, metavar="run|check [FILES]", help="`run -h` lists the options"
    )


def run(arguments: argparse.Namespace) -> int:
    from ..notebooks import main

    return main(arguments.arguments)
