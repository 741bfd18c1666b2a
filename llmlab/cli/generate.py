"""`llmlab generate PROMPT`: the trained model continues a prompt, token by token."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompt", help='the text to continue, for example "The capital of France is"')
    parser.add_argument("--max-new-tokens", type=int, default=100, metavar="N", help="stop after N tokens (100)")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 takes the likeliest token (default)")
    parser.add_argument("--top-k", type=int, help="draw from the K likeliest tokens only")
    parser.add_argument("--top-p", type=float, help="draw from the likeliest tokens that have probability P together")
    parser.add_argument("--seed", type=int, default=0, help="of the random draws (0)")
    parser.add_argument("--model", type=Path, help="a checkpoint of `llmlab train`, with its tokenizer.json beside it")


def run(arguments: argparse.Namespace) -> int:
    import torch

    from .. import checkpoint, load_model
    from ..generate import generate
    from ..tokenization import BPETokenizer

    if arguments.model is None:
        model, tokenizer = load_model()
    else:
        model = checkpoint.load(arguments.model)
        tokenizer = BPETokenizer.load(arguments.model.parent / "tokenizer.json")
    start, end = tokenizer.special_tokens["<s>"], tokenizer.special_tokens["</s>"]
    ids = [start, *tokenizer.encode(arguments.prompt)]
    room = model.config.max_seq_len - len(ids)
    if room < 1:
        raise ValueError(f"the prompt has {len(ids)} tokens; the model reads at most {model.config.max_seq_len - 1}")
    print(arguments.prompt, end="", flush=True)
    steps = generate(
        model,
        ids,
        min(arguments.max_new_tokens, room),
        temperature=arguments.temperature,
        top_k=arguments.top_k,
        top_p=arguments.top_p,
        stop={end},
        generator=torch.Generator().manual_seed(arguments.seed),
    )
    for text in tokenizer.decode_stream(step.token for step in steps if step.token != end):
        print(text, end="", flush=True)
    print()
    return 0
