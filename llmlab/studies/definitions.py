"""The studies of the course. Each is told by its chapter; `llmlab study NAME` runs it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import scaling
from .answers import Answers
from .measures import LOSS, SKILLS, ByPosition, Examination, Longer, UnseenLoss
from .study import Study
from .watching import Watch

LABORATORY = Study(
    "laboratory",
    "What can the laboratory model do at its end, and how far do runs lie apart that differ by their seed only?",
    {"laboratory": {}},
    seeds=tuple(range(10)),
)

# A feed-forward layer of the laboratory has 3 · 96 · 256 weights, its attention 4 · 96 · 128; two matrices of 384 are
# as many, and so are 12 more heads a layer, or twice the layers with 10 heads each.
FFN = Study(
    "ffn",
    "What does the feed-forward layer do for a model of this size, and does a gate help?",
    {
        "SwiGLU": {},
        "GELU": {"ffn": "gelu", "d_ff": 384},
        "ReLU": {"ffn": "relu", "d_ff": 384},
        "none, 20 heads": {"ffn": "none", "n_heads": 20},
        "none, 6 layers": {"ffn": "none", "n_heads": 10, "n_layers": 6},
    },
)

# What is saved goes into the feed-forward layer: a kv head has 2 · 96 · 16 weights, a query head with its part of the
# output as many, a unit of the feed-forward layer 3 · 96. With latents of r numbers the 2 · 96 · 128 weights of keys
# and values give way to (r + 8) · 96 + 2 · r · 128 + r, and queries have 8 · 96 · 8 more, for the part that RoPE
# turns: with r = 64 this is more than before, as much as 17 units have, and with r = 24 less, as much as 32.
KV_HEADS = Study(
    "kv_heads",
    "What is lost with fewer kv heads, with latents, and with fewer heads altogether, at equal parameters?",
    {
        "8 kv heads": {},
        "2 kv heads": {"n_kv_heads": 2, "d_ff": 320},
        "1 kv head": {"n_kv_heads": 1, "d_ff": 331},
        "2 heads in all": {"n_heads": 2, "d_ff": 384},
        "MLA, 72 numbers": {"attention": "mla", "kv_latent_dim": 64, "rope_head_dim": 8, "d_ff": 239},
        "MLA, 32 numbers": {"attention": "mla", "kv_latent_dim": 24, "rope_head_dim": 8, "d_ff": 288},
    },
)

# Sums alone: in a mixture none of these models learns them. After half of the usual steps none had learned two digits.
DIGITS = Study(
    "digits",
    "Does it matter for sums how the tokenizer cuts numbers?",
    {
        "digits alone": {},
        "in threes": {"digits": "in threes"},
        "as they come": {"digits": "as they come"},
    },
    base={"mixture": {"sums": 1.0}, "lists_first": 0},
    measure=Examination(skills=("sums_1digit", "sums_2digit"), n=300, said_again=False),
)

# The documents of a row stand in one context, so that each of the 256 positions is trained; beyond them nothing is. A
# table of 256 learned positions has 256 · 96 weights, about as many as 28 units of the feed-forward layers.
POSITIONS = Study(
    "positions",
    "What does it matter how a model knows positions, within the trained length and beyond it?",
    {
        "RoPE": {},
        "RoPE, interleaved": {"rope_layout": "interleaved"},
        "ALiBi": {"position": "alibi"},
        "sinusoidal": {"position": "sinusoidal"},
        "learned": {"position": "learned", "d_ff": 228},
        "none": {"position": "none"},
    },
    seeds=(0, 1, 2),
    base={"apart": False},
    measure=ByPosition(),
)

_FOUR_TIMES = {
    "as it is": {},
    "linear": {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
    "ntk": {"rope_scaling": {"rope_type": "ntk", "factor": 4.0}},
    "yarn": {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256}},
}
_TUNED = {"n_steps": 80}
# The shipped model, trained on 256 tokens, in texts of up to 800; each way before and after a short training on rows of
# 1,024. The last one reads as many tokens of the same documents, but in rows of 256: what they teach without length.
LONGER = Study(
    "longer",
    "What does a trained model lose in texts longer than it was trained on, and what gives it back?",
    {
        **_FOUR_TIMES,
        **{f"{name}, tuned": {**changes, **_TUNED} for name, changes in _FOUR_TIMES.items()},
        "as it is, tuned short": {**_TUNED, "seq_len": 256, "batch_size": 8},
    },
    seeds=(0, 1, 2),
    base={
        "start": "shipped", "reading": 4, "mixture": {}, "lists_first": 0,
        "n_steps": 0, "batch_size": 2, "seq_len": 1024, "learning_rate": 2e-4, "warmup": 10,
    },
    measure=Longer(),
)  # fmt: skip

_FOUR_SKILLS = {"facts_true": 0.4, "translation": 0.2, "senses": 0.2, "analogies": 0.2}
# Nine runs of one small model that differ in one thing. Dropout is on in all of them, so that it can be forgotten.
FAULTS = Study(
    "faults",
    "What is wrong with this curve?",
    {
        "sound": {},
        "labels not shifted": {"fault": "unshifted"},
        "a mask that leaks": {"fault": "leak"},
        "no warm-up": {"warmup": 0},
        "rate too high": {"learning_rate": 0.3},
        "gradients not zeroed": {"fault": "unzeroed"},
        "validation text in training": {"fault": "validation read"},
        "dropout on in evaluation": {"fault": "dropout on"},
        "sorted by skill": {"fault": "sorted"},
    },
    seeds=(0,),
    base={
        "d_model": 64, "n_layers": 2, "n_heads": 4, "d_ff": 176, "dropout": 0.1,
        "mixture": _FOUR_SKILLS, "lists_first": 0,
        "n_steps": 600, "learning_rate": 3e-2, "warmup": 60,
    },
    measure=UnseenLoss(skills=("facts_true", "senses"), n=100, rows=48),
    watch=Watch(
        skills=("facts_true", "senses"),
        prompts=("The capital of France is", "Question: What is the color of snow?\nAnswer:"),
        n_tokens=8,
    ),
    limit=40_000,
)  # fmt: skip

# Width and depth grow together; a head has 16 numbers, the feed-forward layer 8/3 of the width, in multiples of 16. The
# peak rate is 0.77 / width: of half, this and twice this, the best or as good as the best at each size, in trials of
# 200 steps with another seed.
_SIZES = {
    "16 wide": {"d_model": 16, "n_layers": 2, "n_heads": 1, "d_ff": 48},
    "32 wide": {"d_model": 32, "n_layers": 2, "n_heads": 2, "d_ff": 96},
    "64 wide": {"d_model": 64, "n_layers": 3, "n_heads": 4, "d_ff": 176},
    "96 wide": {"d_model": 96, "n_layers": 4, "n_heads": 6, "d_ff": 256},
}
_STEPS = (200, 400, 800)
_LARGER = ("96 wide", 1600)


def _sized(size: str, n_steps: int) -> dict[str, Any]:
    return {**_SIZES[size], "learning_rate": float(f"{0.77 / _SIZES[size]['d_model']:.2g}"), "n_steps": n_steps}


def _grid_name(size: str, n_steps: int) -> str:
    return f"{size}, {n_steps} steps"


def numbers_and_tokens(study: Study) -> dict[str, tuple[int, int]]:
    """Of each setting of a study: the numbers of its model without the table, and the tokens that it reads."""
    found = {}
    for name, setting in study.full.items():
        training, table = setting.training, setting.model.vocab_size * setting.model.d_model
        found[name] = setting.n_parameters - table, training.n_steps * training.batch_size * training.seq_len
    return found


def foretell_larger(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the runs of the grid foretell of the larger one, by every form; None as long as one of them is missing."""
    sizes = numbers_and_tokens(SCALING)
    larger = sizes.pop(_grid_name(*_LARGER))
    points = scaling.points_of(record["runs"], sizes, LOSS)
    if len(points) < len(sizes) or any(len(point.losses) < len(SCALING.seeds) for point in points):
        return None
    return scaling.prediction(points, *larger)


SCALING = Study(
    "scaling",
    "Does the loss fall as a power of size and of text, and can a larger run be foretold?",
    {
        _grid_name(size, n_steps): _sized(size, n_steps)
        for size, n_steps in (*((size, n) for size in list(_SIZES)[:3] for n in _STEPS), _LARGER)
    },
    seeds=(0, 1, 2),
    base={"mixture": {}, "lists_first": 0, "warmup": 30},
    measure=UnseenLoss(),
    then={_grid_name(*_LARGER): (0, 1, 2)},
    foretell=foretell_larger,
)

# As many steps of as many tokens in all four. The small set is read eight times. What is read and asked is that of the
# watched runs, where so short a training teaches some of it.
NOISY = Study(
    "noisy",
    "At equal work, is it better to read a small clean set several times, or once a larger one that is half damaged?",
    {
        "large, clean": {},
        "small, clean": {"repeat": 50},
        "large, noisy": {"noise": 0.5},
        "small, noisy": {"noise": 0.5, "repeat": 50},
    },
    base={
        "d_model": 64, "n_layers": 2, "n_heads": 4, "d_ff": 176, "mixture": _FOUR_SKILLS, "lists_first": 0,
        "n_steps": 400, "learning_rate": 1.2e-2, "warmup": 30,
    },
    measure=UnseenLoss(skills=tuple(_FOUR_SKILLS), rows=96),
)  # fmt: skip

_FEWER = {
    "8 kv heads": {},
    "2 kv heads, mean": {"n_kv_heads": 2, "convert": "mean"},
    "2 kv heads, first": {"n_kv_heads": 2, "convert": "first"},
    "2 kv heads, drawn": {"n_kv_heads": 2, "convert": "drawn"},
    "1 kv head, mean": {"n_kv_heads": 1, "convert": "mean"},
    "1 kv head, first": {"n_kv_heads": 1, "convert": "first"},
}
# The sibling was trained for 6,000 such steps, with seed 0, whose documents no other seed reads. Each way before and
# after a thirtieth of that; the one with all of its heads, trained on, is the control.
UPTRAINING = Study(
    "uptraining",
    "What does a trained model lose when its kv heads are made fewer, and what does a short training give back?",
    {
        **_FEWER,
        **{f"{name}, trained": {**changes, "n_steps": 200} for name, changes in _FEWER.items()},
    },
    seeds=(1, 2, 3),
    base={
        "start": "mha", "mixture": {}, "lists_first": 0,
        "n_steps": 0, "batch_size": 8, "seq_len": 256, "learning_rate": 3e-3, "warmup": 10,
    },
    measure=Examination(skills=(*SKILLS, "copying", "stories", "facts_invented")),
)  # fmt: skip

_WAYS = {
    "nearest": {},
    "asymmetric": {"symmetric": False},
    "normal levels": {"method": "levels"},
    "AWQ": {"method": "awq"},
    "AWQ, asymmetric": {"method": "awq", "symmetric": False},
    "GPTQ": {"method": "gptq"},
    "GPTQ, asymmetric": {"method": "gptq", "symmetric": False},
    "rotated": {"rotated": True},
    "rotated, GPTQ": {"method": "gptq", "rotated": True},
}
# The shipped model, nothing trained. The table stays in 8 bits everywhere: in fewer it would outweigh all else. A seed
# decides on the 16 rows of 256 tokens that AWQ and GPTQ read and on the signs of the rotation; the shipped model itself
# was trained with seed 0. What draws nothing is measured once.
ROUNDING = Study(
    "rounding",
    "With 4 and 3 bits a weight, which way of rounding keeps most of what the model knows and can do?",
    {
        "full precision": {},
        **{f"{way}, {bits} bits": {"rounding": {"bits": bits, **how}} for bits in (4, 3) for way, how in _WAYS.items()},
    },
    seeds=(1, 2, 3, 4, 5),
    base={"start": "shipped", "mixture": {}, "lists_first": 0, "n_steps": 0, "batch_size": 8, "seq_len": 256},
    measure=Answers(
        skills=(
            "facts_true", "facts_invented", "stories", "pronouns", "senses", "analogies", "paraphrases",
            "sums_2digit", "copying", "questions", "translation", "steps", "finding",
        ),
    ),
    limit=120_000,
)  # fmt: skip

STUDIES = {
    study.name: study
    for study in (LABORATORY, FFN, KV_HEADS, DIGITS, POSITIONS, LONGER, FAULTS, SCALING, NOISY, UPTRAINING, ROUNDING)
}
