"""Watching a run: its loss, its validation, its norms, and what it says on the way, as lines of a `Curve`."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from .. import world
from ..generate import generate
from ..training import IGNORE, Curve, Trainer, TrainingStep, batch_loss
from .faults import VALIDATION_ROWS, evaluating
from .laboratory import Setting

PER_STEP = ("loss", "lr", "norm")
VALIDATED = "validation_loss"
AGAIN = " (asked again)"

Line = dict[str, Any]


@dataclass(frozen=True)
class Watch:
    """What is noted of a run, and how often. A function from a trainer, its setting and the step just done to a line of
    its `Curve`, or None where nothing is noted.

    Loss, rate and norm of every `every` steps, of single steps, not of means; the validation every `validate_every`;
    every `look_every`, and after a tenth of that, `n` items of each of the skills, and what the model writes after
    each prompt, greedily, with the first prompt asked a second time.
    """

    every: int = 6
    validate_every: int = 30
    look_every: int = 150
    skills: tuple[str, ...] = ()
    n: int = 40
    prompts: tuple[str, ...] = ()
    n_tokens: int = 10

    def __call__(self, trainer: Trainer, setting: Setting, step: TrainingStep) -> Line | None:
        done, last = step.step + 1, step.step + 1 == trainer.config.n_steps
        line: Line = {"step": done}
        if done == 1 or done % self.every == 0 or last:
            line |= {"loss": _short(step.loss), "lr": _short(step.learning_rate, 3)}
            line["norm"] = _short(step.gradient_norm, 3)
        validates = done % self.validate_every == 0 or last
        looks = done % self.look_every == 0 or done == self.look_every // 10 or last
        if validates or looks:
            with evaluating(trainer.model, setting.fault, done):
                if validates:
                    line[VALIDATED] = _short(self.validated(trainer, setting))
                if looks:
                    line |= self.looked(trainer, setting)
        return line if len(line) > 1 else None

    def validated(self, trainer: Trainer, setting: Setting) -> float:
        """The validation loss, as the run computes it."""
        held_out, total, n_targets = setting.validation(), 0.0, 0
        for number in range(max(VALIDATION_ROWS // setting.training.batch_size, 1)):
            batch = held_out(number)
            n = int((batch.targets != IGNORE).sum())
            with torch.no_grad():
                total, n_targets = total + batch_loss(trainer.model, batch).item() * n, n_targets + n
        return total / n_targets

    def looked(self, trainer: Trainer, setting: Setting) -> Line:
        """Skills and samples."""
        model, tokenizer = trainer.model, setting.tokenizer()
        skills = {}
        for skill in self.skills:
            judged = world.answers(model, world.items(skill, self.n), tokenizer=tokenizer)
            skills[skill] = round(sum(judged) / len(judged), 3)
        asked = {prompt: prompt for prompt in self.prompts}
        asked |= {prompt + AGAIN: prompt for prompt in self.prompts[:1]}
        start, end = (tokenizer.special_tokens[name] for name in ("<s>", "</s>"))
        samples = {}
        for name, prompt in asked.items():
            ids = [start, *tokenizer.encode(prompt)]
            new = [one.token for one in generate(model, ids, self.n_tokens, stop=end)]
            samples[name] = tokenizer.decode([token for token in new if token != end])
        return {"skills": skills, "samples": samples}


def _short(value: float, digits: int = 4) -> float:
    return float(f"{value:.{digits}g}")


def folded(lines: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Lines as columns, which take a third of the room: the values of `PER_STEP` by their steps, all else by step."""
    rows = [line for line in lines if "loss" in line]
    found: dict[str, Any] = {"step": [line["step"] for line in rows]}
    found |= {name: [line[name] for line in rows] for name in PER_STEP}
    found[VALIDATED] = {str(line["step"]): line[VALIDATED] for line in lines if VALIDATED in line}
    for name in ("skills", "samples"):  # the same names in each
        asked = [line for line in lines if name in line]
        found[name] = {"names": list(asked[0][name]) if asked else []}
        found[name] |= {str(line["step"]): list(line[name].values()) for line in asked}
    return found


def unfolded(columns: Mapping[str, Any], name: str, n_steps: int | None = None) -> Curve:
    """The curve that `folded` has put into columns."""
    lines: dict[int, Line] = {}
    for number, step in enumerate(columns["step"]):
        lines[step] = {"step": step, **{one: columns[one][number] for one in PER_STEP}}
    for step, value in columns[VALIDATED].items():
        lines.setdefault(int(step), {"step": int(step)})[VALIDATED] = value
    for of in ("skills", "samples"):
        names = columns[of]["names"]
        for step, values in columns[of].items():
            if step != "names":
                found = dict(zip(names, values, strict=True))
                lines.setdefault(int(step), {"step": int(step)})[of] = found
    return Curve(name, [lines[step] for step in sorted(lines)], n_steps)


def letters(names: Iterable[str]) -> dict[str, str]:
    """A name for each setting that tells nothing: "run A" and so on, in an order that has nothing to do with theirs."""
    mixed = sorted(names, key=lambda name: zlib.crc32(f"what is wrong? {name}".encode()))
    return {f"run {chr(ord('A') + number)}": name for number, name in enumerate(mixed)}
