"""`llmlab doctor`: is everything here that the course needs, and does the model speak? One line per check."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import llmlab


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(arguments: argparse.Namespace) -> int:
    bad = 0
    for name, check in checks():
        try:
            print(f"ok    {name:<14} {check()}")
        except Exception as error:  # whatever is wrong, the other checks go on
            bad += 1
            print(f"FAIL  {name:<14} {error or type(error).__name__}")
    print(f"{bad} of the checks failed" if bad else "everything is in place")
    return int(bad > 0)


def checks() -> Iterator[tuple[str, Callable[[], str]]]:
    """Each check's name and the function that says what it found, or raises what is wrong."""
    yield "python", lambda: f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield "llmlab", lambda: f"{importlib.metadata.version('llmlab')} in {Path(llmlab.__file__).parent}"
    for requirement in _requirements():
        yield re.match(r"[\w.-]+", requirement).group(), lambda requirement=requirement: _package(requirement)
    yield "processor", _processor
    yield "data", _data
    yield "model", _model
    yield "speech", _speech
    yield "browser", _browser


def _requirements() -> list[str]:
    """What the installed package says it needs; nothing where it is not installed, which is a failed check itself."""
    try:
        return [line for line in importlib.metadata.requires("llmlab") or [] if "extra ==" not in line]
    except importlib.metadata.PackageNotFoundError:
        return []


def _package(requirement: str) -> str:
    from packaging.requirements import Requirement

    wanted = Requirement(requirement)
    try:
        version = importlib.metadata.version(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        raise RuntimeError(f"not installed; expected {wanted}") from None
    if not wanted.specifier.contains(version, prereleases=True):
        raise RuntimeError(f"{version} is installed; expected {wanted.specifier}")
    return version


def _processor() -> str:
    import torch

    name = f"{torch.cuda.get_device_name()} and " if torch.cuda.is_available() else ""
    return f"{name}{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"


def _data() -> str:
    from .. import data_path

    names = ("model.safetensors", "tokenizer.json")
    return ", ".join(f"{name} {data_path(name).stat().st_size / 1e6:.1f} MB" for name in names)


def _model() -> str:
    from .. import load_model

    model, tokenizer = load_model()
    config = model.config
    if tokenizer.vocab_size != config.vocab_size:
        raise RuntimeError(f"the tokenizer has {tokenizer.vocab_size} tokens, the model {config.vocab_size}")
    return f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters in {config.n_layers} layers"


def _speech() -> str:
    from .. import load_model
    from ..generate import generate

    model, tokenizer = load_model()
    prompt = "The capital of France is"
    ids = [tokenizer.special_tokens["<s>"], *tokenizer.encode(prompt)]
    said = tokenizer.decode([step.token for step in generate(model, ids, 4)])
    if "Paris" not in said:
        raise RuntimeError(f"expected the model to continue {prompt!r} with Paris, got {said!r}")
    return f"{prompt}{said}".splitlines()[0]


def _browser() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    return found or "none on the path (only the browser tests need one)"
