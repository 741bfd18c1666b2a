"""Training: show the model text, measure how surprised it was, move the weights a little against the surprise.

`optimization`: the loss, the optimizer, clipping and the schedule, written out. `data`: from documents to batches.
`trainer`: the loop that uses PyTorch's fused versions of the first, can be stopped anywhere and resumes exactly.
`parallel`: several processes that read a batch together and take the step of one.
`curve`: what a run says of each step, kept and read again.
`memory`: the bytes that training holds, counted.
`stream`: an index of all that a model has read, for `world.seen`.
"""

from .curve import Curve
from .data import IGNORE, Batch, MaskedBatches, WorldBatches, batches, fill, masked, pack, train_tokenizer
from .optimization import AdamW, clip_gradients, cosine_schedule, cross_entropy
from .stream import write_stream
from .trainer import Trainer, TrainingConfig, TrainingStep, batch_loss, new_model, portable_model, validation_loss

__all__ = [
    "IGNORE",
    "AdamW",
    "Batch",
    "Curve",
    "MaskedBatches",
    "Trainer",
    "TrainingConfig",
    "TrainingStep",
    "WorldBatches",
    "batch_loss",
    "batches",
    "clip_gradients",
    "cosine_schedule",
    "cross_entropy",
    "fill",
    "masked",
    "new_model",
    "pack",
    "portable_model",
    "train_tokenizer",
    "validation_loss",
    "write_stream",
]
