"""Greedy generation with the cache against `transformers.generate`, and against the speed at which memory is read.

Both sides run the same Llama with the same random weights. Decoding one token reads every weight once, so the time that
memory takes for them is the floor. How near it comes is up to the product, so the two kernels of `llmlab.linear` stand
first, with the one that this process takes.
"""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Iterator

import torch

from .. import checkpoint, costs
from ..generate import generate
from ..linear import SHAPE, kernel, seconds_of_kernels
from . import Row, alternate

SIZES = {
    "3 M": {
        "vocab_size": 2048, "hidden_size": 192, "num_hidden_layers": 6, "num_attention_heads": 6,
        "num_key_value_heads": 2, "intermediate_size": 512,
    },
    "60 M": {
        "vocab_size": 8192, "hidden_size": 640, "num_hidden_layers": 12, "num_attention_heads": 10,
        "num_key_value_heads": 5, "intermediate_size": 1728,
    },
}  # fmt: skip
GOALS = {"3 M": 2.0, "60 M": 1.25}
PROMPT, NEW = 32, 128
REPEATS = 9
ROWS = (1, 2, 4, 8, 16)
NUMBERS = 128 * 2**20  # 512 MB, far larger than any processor cache


def benchmark() -> Iterator[Row]:
    """Speed of the kernels, and of greedy generation as a ratio of transformers' and of memory's."""
    yield from kernels()
    numbers = torch.ones(NUMBERS)  # (N,) float32
    for size, shape in SIZES.items():
        ours, theirs = same_models(shape)
        prompt = torch.randint(shape["vocab_size"], (1, PROMPT), generator=torch.Generator().manual_seed(0))
        ids = prompt[0].tolist()

        decoding: list[float] = []  # seconds of the steps after the prefill

        def run_ours(model=ours, ids=ids, decoding=decoding):
            steps = list(generate(model, ids, NEW))
            decoding.extend(step.seconds for step in steps[1:])
            return [step.token for step in steps]

        def run_theirs(model=theirs, prompt=prompt):
            with torch.inference_mode():
                return model.generate(prompt, max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False)[
                    0, PROMPT:
                ].tolist()

        if run_ours() != run_theirs():
            raise AssertionError("the two sides generate different tokens; the comparison would mean nothing")
        # Memory is read in the same turns: on a shared machine its speed changes by half within a minute.
        seconds, their_seconds, read_seconds = alternate(run_ours, run_theirs, numbers.sum, repeats=REPEATS)
        goal = GOALS[size]
        speed, their_speed = NEW / seconds, NEW / their_seconds
        yield Row(
            f"greedy generation, {size} parameters: transformers.generate",
            speed, their_speed, "tok/s", f">= {goal:g}×", speed >= goal * their_speed,
        )  # fmt: skip
        if size == "60 M":
            read = numbers.nbytes / read_seconds / 1e9
            used = (
                costs.weight_bytes(ours.config) / statistics.median(decoding) / 1e9
            )  # the tied table is read once, as the head
            yield Row(
                "weights read while decoding, 60 M: memory read speed",
                used,
                read,
                "GB/s",
                ">= 0.65×",
                used >= 0.65 * read,
            )


def kernels() -> Iterator[Row]:
    """How fast each kernel reads a weight of 4 MB for few rows, at its best, and the choice of this process."""
    for n_rows in ROWS:
        taken, seconds = kernel(n_rows), seconds_of_kernels(n_rows)
        blocks, plain = (4 * math.prod(SHAPE) / min(seconds[name]) / 1e9 for name in ("blocks", "plain"))
        yield Row(
            f"product of {n_rows} row{'s' * (n_rows > 1)} by blocks ({taken} is taken): plain", blocks, plain, "GB/s"
        )


def same_models(shape: dict[str, int]):
    """Our Llama and that of transformers with the same random weights, both ready to generate."""
    import transformers

    config = transformers.LlamaConfig(
        **shape,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        eos_token_id=None,
        bos_token_id=None,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    theirs = transformers.LlamaForCausalLM(config).eval()
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        ours = checkpoint.load_pretrained(folder)
    return ours, theirs
