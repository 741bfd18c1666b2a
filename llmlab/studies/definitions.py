"""The studies of the course. Each is told by its chapter; `llmlab study NAME` runs it again."""

from __future__ import annotations

from .measures import ByPosition, Examination
from .study import Study

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
# output as many, a unit of the feed-forward layer 3 · 96.
KV_HEADS = Study(
    "kv_heads",
    "What is lost with fewer kv heads, and with fewer heads altogether, at equal parameters?",
    {
        "8 kv heads": {},
        "2 kv heads": {"n_kv_heads": 2, "d_ff": 320},
        "1 kv head": {"n_kv_heads": 1, "d_ff": 331},
        "2 heads in all": {"n_heads": 2, "d_ff": 384},
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

STUDIES = {study.name: study for study in (LABORATORY, FFN, KV_HEADS, DIGITS, POSITIONS)}
