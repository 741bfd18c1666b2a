"""`llmlab generate PROMPT`: the trained model continues a prompt, token by token."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompt", help='the text to continue, for example "The capital of France is"')
    parser.add_argument("--max-new-tokens", type=int, default=100, metavar="N", help="stop after N tokens (100)")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 takes the likeliest token (default)")
    parser.add_argument("--top-k", type=int, help="draw from the K likeliest tokens only")
    parser.add_argument("--top-p", type=float, help="draw from the likeliest tokens that have probability P together")
    parser.add_argument("--seed", type=int, default=0, help="of the random draws (0)")
    parser.add_argument(
        "--model", type=Path, help="a checkpoint of `llmlab train` or `quantize`, with its tokenizer.json beside it"
    )


def run(arguments: argparse.Namespace) -> int:
    import torch

    from .. import load_model
    from ..generate import generate
    from ..quantization import open_model
    from ..tokenization import BPETokenizer

    if arguments.model is None:
        model, tokenizer = load_model()
    else:
        model = open_model(arguments.model)
        tokenizer = BPETokenizer.load(arguments.model.parent / "tokenizer.json")
    start, end = tokenizer.special_tokens["<s>"], tokenizer.special_tokens["</s>"]
    ids = [start, *tokenizer.encode(arguments.prompt)]
    steps = generate(
        model,
        ids,
        arguments.max_new_tokens,
        temperature=arguments.temperature,
        top_k=arguments.top_k,
        top_p=arguments.top_p,
        stop=end,
        generator=torch.Generator().manual_seed(arguments.seed),
    )
    print(arguments.prompt, end="", flush=True)
    with warnings.catch_warnings(record=True) as said:  # that the text grew longer than the model knows, say
        for text in tokenizer.decode_stream(step.token for step in steps if step.token != end):
            print(text, end="", flush=True)
    print()
    for warning in said:
        print(f"llmlab generate: {warning.message}", file=sys.stderr)
    return 0
