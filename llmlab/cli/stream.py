"""`llmlab stream`: list what a trained model has read, so that `world.seen` finds the steps that read a text.

Writes `stream.npz` beside `model.safetensors` and `tokenizer.json`, from which alone it follows; nothing is trained.
`llmlab train --publish` does the same for the model that it publishes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from .. import data_path
from ..training import write_stream


def add_arguments(parser: argparse.ArgumentParser) -> None:
    folder = data_path("model.safetensors").parent
    parser.add_argument("--publish", type=Path, default=folder, metavar="FOLDER", help="where the model lies (data)")


def run(arguments: argparse.Namespace) -> int:
    path = write_stream(arguments.publish)
    print(f"{path} ({path.stat().st_size / 1024:.0f} KiB)")
    return 0
