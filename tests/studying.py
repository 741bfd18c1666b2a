"""A study of seconds, for tests that run one from its start to its end."""

from llmlab.studies import Examination, Study

TINY = Study(
    "tiny",
    "Does a gate help a model that has hardly learned anything?",
    {"SwiGLU": {}, "ReLU": {"ffn": "relu", "d_ff": 48}},
    seeds=(0, 1),
    base={
        "n_steps": 40,
        "batch_size": 2,
        "seq_len": 64,
        "d_model": 16,
        "n_layers": 1,
        "n_heads": 2,
        "head_dim": 8,
        "d_ff": 32,
        "lists_first": 0,
        "mixture": {"facts_true": 1.0},
    },
    measure=Examination(skills=("facts_true",), n=20, n_documents=5, said_again=False),
)
