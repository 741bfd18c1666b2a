"""`llmlab quantize`: write a model in few bits, to a file that is as small as they are.

Each number is rounded to the nearest code, or by GPTQ, for the inputs that layers get on some text; AWQ rescales
channels before rounding to nearest. NF4 rounds to the nearest of 16 levels that lie as normally distributed numbers do,
in groups of 64 where no other size is given; it is made for 4 bits, and what gets other bits by name (--method nf4
--bits 4 --bits embedding=8) is rounded to the nearest code. A table that is tied to the head is a matrix like others,
in every method; --skip embedding leaves it as it is.
The file is opened again before the command ends, and has to be the same model. `llmlab generate --model
FOLDER/model.safetensors` speaks with it.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from ..training import Batch
    from ..transformer import Transformer

METHODS = ("nearest", "gptq", "awq", "nf4")
READ = ("gptq", "awq")  # and need a text for it
NF4_BITS, NF4_GROUP = 4, 64
N_BATCHES, ROWS, LONGEST = 2, 8, 256  # what a calibration reads: a few thousand tokens


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", nargs="?", type=Path, help="a checkpoint of llmlab, or a folder or name of Hugging Face (the course's)"
    )
    parser.add_argument(
        "--bits",
        action="append",
        metavar="[NAME=]N",
        help='2 to 8, of all matrices or of those named, as in --bits 4 --bits "embedding=8" (4); the last counts',
    )
    parser.add_argument(
        "--group-size", type=int, metavar="N", help="numbers of a row that share a scale (a whole row; nf4: 64)"
    )
    parser.add_argument("--asymmetric", action="store_true", help="codes with a zero point, for ranges not around 0")
    parser.add_argument(
        "--method",
        choices=METHODS,
        default="nearest",
        help="to the nearest code (the default), by GPTQ, after AWQ's scaling, or to the 16 levels of NF4",
    )
    parser.add_argument(
        "--text", type=Path, metavar="FILE", help="what gptq and awq let the model read (documents it was trained on)"
    )
    parser.add_argument("--skip", action="append", default=[], metavar="NAME", help="matrices to leave as they are")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where to write model.safetensors")


def run(arguments: argparse.Namespace) -> int:
    import torch

    from .. import checkpoint, data_path
    from ..quantization import (
        bits_by_name,
        load,
        matrices,
        model_bytes,
        quantize_by_gptq,
        quantize_model,
        quantize_to_levels,
        save,
        scale_by_awq,
    )
    from ..quantization.models import ROUTERS

    source = arguments.model or data_path("model.safetensors")
    model = checkpoint.load(source) if source.is_file() else checkpoint.load_pretrained(str(source))
    target = arguments.out / "model.safetensors"
    if target.exists() and target.resolve() in (source.resolve(), (source / "model.safetensors").resolve()):
        raise ValueError(f"{target} is the model itself; write the quantized one to another folder")
    bits, skip = wishes(arguments.bits or ["4"]), (*ROUTERS, *arguments.skip)
    sizes = {name: weight.numel() for name, weight in matrices(model).items()}
    chosen = bits_by_name(model, bits, skip=skip)
    settings = {"group_size": arguments.group_size, "symmetric": not arguments.asymmetric, "skip": skip}
    tokenizer = (source.parent if source.is_file() else source) / "tokenizer.json"
    if arguments.text is not None and arguments.method not in READ:
        said = "rounding to nearest" if arguments.method == "nearest" else arguments.method
        raise ValueError(f"{said} reads no text: leave out --text, or choose --method {' or '.join(READ)}")
    if arguments.method == "nearest":
        small = quantize_model(model, bits, **settings)
    elif arguments.method == "nf4":
        if arguments.asymmetric:
            raise ValueError("the levels of nf4 lie around 0 and have no zero point: leave out --asymmetric")
        named = [name for name, n in chosen.items() if n == NF4_BITS]
        if not named:
            raise ValueError(f"nf4 is made for {NF4_BITS} bits, and --bits gives no matrix {NF4_BITS}: leave it out")
        group_size = NF4_GROUP if arguments.group_size is None else arguments.group_size
        rest = {name: n for name, n in chosen.items() if n != NF4_BITS}
        small = quantize_model(model, rest, group_size=group_size, skip=()) if rest else model
        small = quantize_to_levels(small, names=named, group_size=group_size, skip=())
    else:
        reading = list(calibration(model, tokenizer, arguments.text))
        if arguments.method == "gptq":
            small = quantize_by_gptq(model, reading, bits, **settings)
        else:
            small = quantize_model(scale_by_awq(model, reading, bits, **settings)[0], bits, **settings)
    save(small, target)
    if tokenizer.is_file() and not (arguments.out / "tokenizer.json").exists():
        shutil.copyfile(tokenizer, arguments.out / "tokenizer.json")
    again, tokens = load(target), torch.arange(min(8, model.config.vocab_size))[None]  # (1, T)
    with torch.inference_mode():
        if not torch.equal(again(tokens), small(tokens)):
            raise ValueError(f"{target} does not give back the model that was written")
    n_numbers = sum(parameter.numel() for parameter in model.parameters())
    n_chosen = sum(sizes[name] for name in chosen)
    before, after = model_bytes(model), model_bytes(small)
    print(f"{n_numbers:,} numbers, {n_chosen:,} of them in {len(chosen)} matrices that are quantized")
    files = [source] if source.is_file() else list(source.glob("*.safetensors"))
    on_disk = f"; {sum(file.stat().st_size for file in files):,} in its file" if files else ""
    print(f"before: {before:,} bytes in memory, {8 * before / n_numbers:.2f} bits a number{on_disk}")
    print(f"after:  {after:,} bytes, {8 * after / n_numbers:.2f} bits a number with scales and what is left as it was")
    print(f"{target} ({target.stat().st_size:,} bytes)")
    return 0


def calibration(model: Transformer, tokenizer_file: Path, text: Path | None) -> Iterator[Tensor | Batch]:
    """What the model reads: a text in rows of tokens, or, with none, documents of the course's world from training.

    Raises ValueError where there is no tokenizer, where documents need tokens that it lacks, and for too short a text.
    """
    import torch

    from ..tokenization import BPETokenizer
    from ..training import WorldBatches

    if not tokenizer_file.is_file():
        raise ValueError(f"gptq and awq let the model read, and need its tokenizer: there is no {tokenizer_file}")
    tokenizer = BPETokenizer.load(tokenizer_file)
    n_tokens = min(LONGEST, model.config.max_seq_len)
    if text is None:
        if not {"<s>", "</s>"} <= set(tokenizer.special_tokens):
            raise ValueError("this model was not trained on the course's documents: name a text for it with --text")
        documents = WorldBatches(tokenizer, ROWS, n_tokens)
        yield from (documents(step) for step in range(N_BATCHES))
        return
    ids = tokenizer.encode(text.read_text(encoding="utf-8"))[: N_BATCHES * ROWS * n_tokens]
    if len(ids) < n_tokens:
        raise ValueError(f"expected a text of at least {n_tokens} tokens to calibrate with, {text} has {len(ids)}")
    yield from torch.tensor(ids)[: len(ids) // n_tokens * n_tokens].view(-1, n_tokens).split(ROWS)


def wishes(given: list[str]) -> dict[str, int]:
    """["4", "embedding=8"] -> {"*": 4, "embedding": 8}. Raises ValueError for what is no number of bits."""
    found: dict[str, int] = {}
    for text in given:
        name, _, n = text.rpartition("=")
        if not n.isdecimal():
            raise ValueError(f"expected --bits N or --bits NAME=N with a number of bits, got {text!r}")
        found[name or "*"] = int(n)
    return found
