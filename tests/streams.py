"""What a batch has read, told from its tokens alone: the other way round than `llmlab.training.stream`."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from llmlab import world
from llmlab.training import IGNORE, WorldBatches


def told(batches: WorldBatches, step: int) -> Iterator[tuple[int, str | None, world.Document]]:
    """Of each document of a step its number, the text that its tokens spell, and the document of that number.

    The text is None where the tokens are not those of the document: a list stands in its place. Of a character that the
    end of a row cuts, nothing is left.
    """
    batch, tokenizer = batches(step), batches.tokenizer
    start, end = (tokenizer.special_tokens[name] for name in ("<s>", "</s>"))
    number = step * batches.batch_size * (batches.seq_len + 1)
    skills = batches.skills
    if step < batches.lists_first:
        skills = ("repeating",) if step < batches.lists_first / 2 else ("copying",)
    for row in torch.cat([batch.tokens, batch.targets[:, -1:]], dim=1).tolist():
        if row[-1] == IGNORE:  # the last target belongs to another document, which begins with it
            row[-1] = start
        begins = [place for place, token in enumerate(row) if token == start]
        for begin, after in zip(begins, [*begins[1:], len(row)], strict=True):
            ids = [token for token in row[begin + 1 : after] if token != end]
            document = world.document(batches.seed, number, skills=skills, reading=batches.reading)
            ours = tokenizer.encode(document.text)[: len(ids)] == ids
            if not ours and step < batches.pairs_first:
                document = world.document(batches.seed, number, skills="recall", reading=2)
                ours = tokenizer.encode(document.text)[: len(ids)] == ids
            yield number, tokenizer.decode_bytes(ids).decode(errors="ignore") if ours else None, document
            number += 1
