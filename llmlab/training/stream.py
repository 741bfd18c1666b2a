"""The index of what a model has read, `stream.npz`, with which `world.seen` finds the steps that read a text."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from ..tokenization import BPETokenizer
from ..world.seen import LIST, NAMES, PAIRS, Group, Part, Stream, made_from, words_of
from .data import Read, WorldBatches, fill


def write_stream(folder: str | Path) -> Path:
    """Write `stream.npz` beside the `model.safetensors` and the `tokenizer.json` of a folder; returns the file.

    All documents of the training are written and tokenized again, minutes for a large one, with a progress bar.
    Raises ValueError where the header of the model tells nothing of its training.
    """
    folder = Path(folder)
    made = made_from(folder)
    tokenizer = BPETokenizer.load(folder / "tokenizer.json")
    path = folder / "stream.npz"
    index(readings(made, tokenizer), made).save(path)
    return path


def readings(made: dict[str, Any], tokenizer: BPETokenizer) -> list[tuple[WorldBatches, int]]:
    """The batches of each reading that `world.seen.made_from` tells of, and how many steps it has."""
    found = []
    for reading, name in enumerate(NAMES, start=1):
        if (settings := made[name]) is not None:
            of_batches = {name: value for name, value in settings.items() if name != "n_steps"}
            found.append((WorldBatches(tokenizer, reading=reading, **of_batches), settings["n_steps"]))
    return found


def index(readings: Sequence[tuple[WorldBatches, int]], made: dict[str, Any]) -> Stream:
    """Which documents the steps of some readings, one after the other, have used. `made`: the settings to note down."""
    parts: list[Part] = []
    names: list[str] = []
    n_documents: list[int] = []
    n_characters: list[int] = []
    skills: list[int] = []
    words: dict[tuple[int, str], set[str]] = {}
    pairs: dict[tuple[int, str], set[tuple[str, str]]] = {}
    checksums: dict[tuple[int, str], int] = {}

    def note(text: str, skill: str | None) -> None:
        """What the latest part has read of its next document."""
        if skill is None:
            skills.append(LIST)
            return
        if skill not in names:
            names.append(skill)
        skills.append(names.index(skill))
        key = len(parts) - 1, skill
        found = words_of(text)
        words.setdefault(key, set()).update(found)
        pairs.setdefault(key, set()).update(pairwise(found))
        checksums[key] = zlib.crc32(text.encode(), checksums.get(key, 0))

    n_steps = sum(n for _, n in readings)
    with tqdm(total=n_steps, unit="step", desc="what was read", dynamic_ncols=True) as bar:
        for batches, n in readings:
            parts.append(Part(n, batches.batch_size, batches.seed, batches.reading, batches.first_of(1)))
            for step in range(n):
                supply = batches.documents(step)
                for row in fill(supply, batches.batch_size, batches.seq_len, n_tokens=lambda read: len(read.ids)):
                    texts = _texts(row, batches)
                    n_documents.append(len(row))
                    n_characters.append(len(texts[-1][0]))
                    for text, skill in texts:
                        note(text, skill)
                bar.update()
    groups = {
        key: Group(frozenset(words[key]), checksums[key], frozenset(found if len(found) <= PAIRS else ()))
        for key, found in pairs.items()
    }
    counts = np.array(n_documents), np.array(n_characters), np.array(skills, dtype=np.uint8)
    return Stream(made, tuple(parts), tuple(names), *counts, groups)


def _texts(row: list[Read], batches: WorldBatches) -> list[tuple[str, str | None]]:
    """What a row has read of each of its documents, and its skill; "" and None for a list of tokens.

    Of the last one, only the tokens that the row and the target after it had room for, and of these whole characters.
    """
    texts = [("", None) if read.document is None else (read.document.text, read.document.skill) for read in row]
    room = batches.seq_len + 1 - sum(len(read.ids) for read in row[:-1])
    ids, skill = row[-1].ids, texts[-1][1]
    if skill is not None and room < len(ids):
        texts[-1] = batches.tokenizer.decode_bytes(ids[1:room]).decode("utf-8", errors="ignore"), skill
    return texts
