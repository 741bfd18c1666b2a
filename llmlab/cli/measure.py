"""`llmlab measure`: the figures of the model card, measured again and written down.

Writes `model_card.json` with every figure, and the tables of `README.md` between its two "measured" marks. With
`--run`, the snapshots that a training run has kept become `snapshots.safetensors`: skills, head scores and embedding
rows along training.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from .. import checkpoint, data_path, heads, load_model, model_card, world
from ..tokenization import BPETokenizer
from ..transformer import Transformer
from .train import rounded

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
LOST = {  # the skills looked at where a head is taken out, by what made the head stand out
    "induction": ("copying", "questions"),
    "previous": ("copying", "questions"),
    "first": ("copying", "questions"),
    "pronoun": ("pronouns", "questions"),
}


BY_LAYER = ("copying", "pronouns", "questions", "facts_true", "recall", "finding", "hops_one", "hops")
SIBLINGS = ("mha", "draft", "endless")
SHARED = tuple(skill for skill in world.EVALUATIONS if skill not in ("recall", "hops_one", "hops"))
ENDED = "texts ended"
LENGTHS = (None, 16, 30)  # sentences of notes: within the trained context, about as long, twice as long


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--publish", type=Path, default=data_path("README.md").parent, help="the folder (data)")
    parser.add_argument("--run", type=Path, help="a training run, to make snapshots.safetensors of")
    parser.add_argument("--only", choices=("siblings",), help="leave all other figures of the card as they are")
    parser.add_argument("-n", type=int, default=500, help="items a skill (500)")


def run(arguments: argparse.Namespace) -> int:
    path = arguments.publish / "model_card.json"
    if arguments.only is None:
        model, tokenizer = load_model()
        if arguments.run is not None:
            snapshots(arguments.run, arguments.publish / "snapshots.safetensors")
        card = measured(model, tokenizer, arguments.n)
    else:
        card = json.loads(path.read_text(encoding="utf-8"))
    card["siblings"] = rounded(siblings(arguments.n))
    path.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    readme = arguments.publish / "README.md"
    readme.write_text(filled(readme.read_text(encoding="utf-8"), tables(card)), encoding="utf-8")
    print(tables(card))
    print(f"written to {path} and {readme}")
    return 0


def measured(model: Transformer, tokenizer: BPETokenizer, n: int) -> dict[str, Any]:
    """Every figure of the card, as plain numbers."""
    scores = world.evaluate(model, n=n, tokenizer=tokenizer)
    scores |= model_card.facts_by_frequency(model, tokenizer)
    scores["sentences"] = model_card.accepted(model_card.sampled_sentences(model, tokenizer))
    of_heads = model_card.head_scores(model, tokenizer)
    whole = model_card.cost_of(model, tokenizer, (), skills=sorted({s for of in LOST.values() for s in of}))
    taken = {}
    for kind, skills in LOST.items():
        layer, head = model_card.best(of_heads[kind])
        left = model_card.cost_of(model, tokenizer, [(layer, head)], skills=skills)
        taken[kind] = {"head": [layer, head], "score": of_heads[kind][layer, head].item(), **left}
    config = model.config
    every = [[(layer, head) for head in range(config.n_heads)] for layer in range(config.n_layers)]
    losses = [[model_card.cost_of(model, tokenizer, [one])["loss"] for one in row] for row in every]
    reader = model_card.best(of_heads["induction"])
    twice = model_card.words_said_twice(tokenizer)
    fed = heads.induction_fed_by(model, twice, model_card.PERIOD, reader) if reader[0] else torch.zeros(0)
    positions, restored = model_card.where_facts_are(model, tokenizer)
    depths = model_card.finding_by_depth(model, tokenizer, LENGTHS)
    layers = model_card.cost_of_layers(model, tokenizer, skills=BY_LAYER)
    drawn = model_card.cost_of_random_heads(model, tokenizer, every[reader[0]], skills=BY_LAYER, n_batches=4)
    card = {
        "n": n,
        "scores": {skill: [score.correct, score.total] for skill, score in scores.items()},
        "heads": {name: of.tolist() for name, of in of_heads.items()},
        "whole": whole,
        "without": taken,
        "loss_without": losses,
        "induction_fed_by": fed.tolist(),
        "repetition": model_card.repetition_by_pool(model, tokenizer),
        "finding": {
            length: {depth: [score.correct, score.total] for depth, score in of.items()}
            for length, of in depths.items()
        },
        "layers": layers | {"random heads": drawn},
        "facts": {"positions": positions, **{kind: share.tolist() for kind, share in restored.items()}},
    }
    return rounded(card)


def siblings(n: int) -> dict[str, Any]:
    """What the smaller decoders can do beside the model: skills, texts that they end, the loss on unseen documents."""
    found: dict[str, Any] = {}
    for name in ("model", *SIBLINGS):
        model, tokenizer = load_model(name)
        scores = world.evaluate(model, SHARED, n, tokenizer=tokenizer) | {ENDED: model_card.ended(model, tokenizer)}
        found[name] = {skill: [score.correct, score.total] for skill, score in scores.items()}
        found[name]["loss"] = model_card.losses_at_ends(model, tokenizer)
    return found


def snapshots(run: Path, path: Path) -> None:
    """The snapshots of a run in one small file. Where the file holds earlier ones than the run, they stay: a run that
    began with a published model has none of that model's training. Raises ValueError if those are of other tokens."""
    files = sorted((run / "snapshots").glob("step_*.safetensors"))
    if not files:
        raise ValueError(f"{run} has no snapshots; expected the folder of a training run")
    tokenizer = BPETokenizer.load(run / "tokenizer.json")
    models = [(checkpoint.load_tensors(file)[1]["step"], checkpoint.load(file)) for file in files]
    tensors, figures = model_card.along_training(models, tokenizer)
    if path.exists() and models[0][0] > 0:
        before, metadata = checkpoint.load_tensors(path)
        if before["tokens"].tolist() != tensors["tokens"].tolist():
            raise ValueError(f"expected the snapshots of {path} to be of the tokens of this run; they are of others")
        n_before = sum(one["step"] < models[0][0] for one in metadata["steps"])
        figures["steps"] = metadata["steps"][:n_before] + figures["steps"]
        for name in ("rows", "scales"):
            tensors[name] = torch.cat([before[name][:n_before], tensors[name]])
    checkpoint.save_tensors(path, tensors, rounded(figures))


def tables(card: dict[str, Any]) -> str:
    """The card's figures as Markdown, layers and heads counted from 1, as the widgets do."""
    lines = ["| what | score | 95% interval | items |", "| --- | --- | --- | --- |"]
    for skill, (correct, total) in card["scores"].items():
        score = world.Score(correct, total)
        name = f"`{skill}`" if skill in world.EVALUATIONS else skill
        lines.append(f"| {name} | {score.accuracy:.3f} | {score.low:.3f}–{score.high:.3f} | {total} |")
    whole = card["whole"]
    lines += ["", "| head | layer.head | its score | next best | loss without it | skills without it |"]
    lines += ["| --- | --- | --- | --- | --- | --- |"]
    for kind, left in card["without"].items():
        ranked = sorted((score for row in card["heads"][kind] for score in row), reverse=True)
        skills = [
            f"{skill} {whole[skill]:.2f} → {score:.2f}"
            for skill, score in left.items()
            if skill not in ("head", "score", "loss")
        ]
        layer, head = left["head"]
        change = f"{whole['loss']:.3f} → {left['loss']:.3f}"
        lines.append(
            f"| {kind} | {layer + 1}.{head + 1} | {left['score']:.2f} | {ranked[1]:.2f} | {change} "
            f"| {', '.join(skills)} |"
        )
    reader = ".".join(str(number + 1) for number in card["without"]["induction"]["head"])
    lines += ["", f"| its keys lack what this head wrote | induction score of {reader} |", "| --- | --- |"]
    fed = [
        (score, f"{layer + 1}.{head + 1}")
        for layer, row in enumerate(card["induction_fed_by"])
        for head, score in enumerate(row)
    ]
    lines += [f"| {name} | {score:.2f} |" for score, name in sorted(fed)[:4]]
    lines += ["", *_repetition_table(card["repetition"]), "", *_depth_table(card["finding"])]
    lines += ["", *_layer_table(card["layers"])]
    lines += ["", *_sibling_table(card["siblings"])]
    facts = card["facts"]
    lines += ["", f"| restored | layer | {' | '.join(facts['positions'])} |"]
    lines += ["| --- | --- | " + " | ".join("---" for _ in facts["positions"]) + " |"]
    for kind, shares in facts.items():
        if kind != "positions":
            for layer, row in enumerate(shares):
                lines.append(
                    f"| {kind} | {layer + 1} | " + " | ".join(f"{round(share, 2) + 0.0:.2f}" for share in row) + " |"
                )
    return "\n".join(lines)


def _repetition_table(pools: dict[str, Any]) -> list[str]:
    lines = ["| 12 tokens said twice | continued rightly | 2nd to 4th | last three | best induction head | its score |"]
    lines += ["| --- | --- | --- | --- | --- | --- |"]
    for name, figures in pools.items():
        layer, head = model_card.best(torch.tensor(figures["induction"]))
        at = figures["by_position"]
        lines.append(
            f"| {name} | {world.Score(*figures['score'])} | {sum(at[1:4]) / 3:.2f} | {sum(at[-3:]) / 3:.2f} "
            f"| {layer + 1}.{head + 1} | {figures['induction'][layer][head]:.2f} |"
        )
    return lines


def _depth_table(by_length: dict[str, dict[str, list[int]]]) -> list[str]:
    depths = list(next(iter(by_length.values())))
    lines = [f"| `finding`, sentences | {' | '.join(f'depth {depth}' for depth in depths)} |"]
    lines += ["| --- | " + " | ".join("---" for _ in depths) + " |"]
    for length, of in by_length.items():
        named = "6 to 8" if length == "short" else length
        lines.append(f"| {named} | " + " | ".join(f"{world.Score(*of[depth]).accuracy:.2f}" for depth in depths) + " |")
    return lines


def _layer_table(layers: dict[str, Any]) -> list[str]:
    """What is left without the attention of a layer, and without as many heads at random."""
    names = list(layers["whole"])
    rows = [("nothing", layers["whole"])]
    for instead, said in (("zero", "layer {}"), ("mean", "layer {}, its mean instead")):
        rows += [(said.format(number), left) for number, left in enumerate(layers[instead], 1)]
    rows += [(f"six heads at random, draw {number}", left) for number, left in enumerate(layers["random heads"], 1)]
    lines = [f"| taken out | {' | '.join(names)} |", "| --- | " + " | ".join("---" for _ in names) + " |"]
    for said, left in rows:
        values = (f"{left[name]:.2f}" if name in left else "–" for name in names)
        lines.append(f"| {said} | " + " | ".join(values) + " |")
    return lines


def _sibling_table(siblings: dict[str, Any]) -> list[str]:
    lines = [f"| sibling | {' | '.join(siblings)} |", "| --- | " + " | ".join("---" for _ in siblings) + " |"]
    for name in [name for name in siblings["model"] if name != "loss"]:
        said = f"`{name}`" if name in world.EVALUATIONS else name
        lines.append(f"| {said} | {' | '.join(str(world.Score(*of[name])) for of in siblings.values())} |")
    for name in siblings["model"]["loss"]:
        lines.append(f"| loss, {name} | {' | '.join(format(of['loss'][name], '.2f') for of in siblings.values())} |")
    return lines


def filled(text: str, table: str) -> str:
    """The text with the table between its marks. Raises ValueError where a mark is missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"expected the marks {BEGIN} and {END} in the README, one after the other")
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"
