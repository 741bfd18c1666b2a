"""`llmlab quantize`: write a model in few bits, to a file that is as small as they are.

Each number is rounded to the nearest code. The file is opened again before the command ends, and has to be the same
model. `llmlab generate --model FOLDER/model.safetensors` speaks with it.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path


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
    parser.add_argument("--group-size", type=int, metavar="N", help="numbers of a row that share a scale (a whole row)")
    parser.add_argument("--asymmetric", action="store_true", help="codes with a zero point, for ranges not around 0")
    parser.add_argument("--skip", action="append", default=[], metavar="NAME", help="matrices to leave as they are")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where to write model.safetensors")


def run(arguments: argparse.Namespace) -> int:
    import torch

    from .. import checkpoint, data_path
    from ..quantization import bits_by_name, load, matrices, model_bytes, quantize_model, save
    from ..quantization.models import ROUTERS

    source = arguments.model or data_path("model.safetensors")
    model = checkpoint.load(source) if source.is_file() else checkpoint.load_pretrained(str(source))
    target = arguments.out / "model.safetensors"
    if target.exists() and target.resolve() in (source.resolve(), (source / "model.safetensors").resolve()):
        raise ValueError(f"{target} is the model itself; write the quantized one to another folder")
    bits, skip = wishes(arguments.bits or ["4"]), (*ROUTERS, *arguments.skip)
    sizes = {name: weight.numel() for name, weight in matrices(model).items()}
    chosen = bits_by_name(model, bits, skip=skip)
    small = quantize_model(
        model,
        bits,
        group_size=arguments.group_size,
        symmetric=not arguments.asymmetric,
        skip=skip,
    )
    save(small, target)
    tokenizer = (source.parent if source.is_file() else source) / "tokenizer.json"
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


def wishes(given: list[str]) -> dict[str, int]:
    """["4", "embedding=8"] -> {"*": 4, "embedding": 8}. Raises ValueError for what is no number of bits."""
    found: dict[str, int] = {}
    for text in given:
        name, _, n = text.rpartition("=")
        if not n.isdecimal():
            raise ValueError(f"expected --bits N or --bits NAME=N with a number of bits, got {text!r}")
        found[name or "*"] = int(n)
    return found
