"""The command `llmlab`: train, stream, measure, study, showpieces, quantize, generate, notebooks, widgets, bench,
reset, doctor.

Each subcommand is a module with `add_arguments(parser)` and `run(arguments) -> int`, imported when it is asked for.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import sys
from collections.abc import Sequence

COMMANDS = {
    "train": "train the course's model on the world, or go on with an interrupted run",
    "stream": "list what a trained model has read, so that world.seen finds a text in it",
    "measure": "measure the figures of the model card again and write them down",
    "study": "train the models that a chapter compares, from several seeds, and record what they can do",
    "showpieces": "search texts that the trained model has never read, to show what it can do and cannot",
    "quantize": "write a model in few bits, to a file that is as small as they are",
    "generate": "continue a prompt with the trained model",
    "notebooks": "execute the notebooks, check that they are up to date, or make pages and slides of them",
    "widgets": "show all widgets on one page, in light and dark",
    "bench": "measure the package against other implementations on this machine",
    "reset": "give a notebook back as the course has it; your version stays beside it",
    "doctor": "say what is installed and whether the model loads and speaks",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code. Expected failures end in one line on stderr and code 1."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="llmlab", description="How large language models work.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if argv and argv[0] == name:
            importlib.import_module(f"llmlab.cli.{name}").add_arguments(command)
    meant = difflib.get_close_matches(argv[0], COMMANDS, 1) if argv and argv[0] not in COMMANDS else []
    if meant:
        parser.error(f"there is no command {argv[0]}; did you mean {meant[0]}?")
    arguments = parser.parse_args(argv)
    try:
        return importlib.import_module(f"llmlab.cli.{arguments.command}").run(arguments)
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"llmlab {arguments.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
