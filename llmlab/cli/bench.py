"""`llmlab bench`: what the package is measured against, as a table of ratios."""

from __future__ import annotations

import argparse
import importlib

BENCHMARKS = ("tokenization", "generation", "decoding", "training", "dashboard", "quantization")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(BENCHMARKS)} (all)")


def run(arguments: argparse.Namespace) -> int:
    import torch

    if unknown := sorted(set(arguments.names) - set(BENCHMARKS)):
        raise ValueError(f"expected names of {', '.join(BENCHMARKS)}; got {', '.join(unknown)}")
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads. Medians of one run; quote the ratios only.")
    print(f"{'what: against':<58} {'ours':>9} {'theirs':>9} {'unit':<8} {'ratio':>7}  goal")
    missed = False
    for name in arguments.names or BENCHMARKS:
        for row in importlib.import_module(f"llmlab.bench.{name}").benchmark():
            print(row, flush=True)
            missed |= row.met is False
    return int(missed)
