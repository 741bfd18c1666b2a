"""Studies: models that a chapter compares and that no notebook has time to train, recorded with their chance.

`llmlab study NAME` trains each setting of a study from several seeds and records what it measures in
`data/studies/NAME.json`. `studies.load("NAME")` opens that record: tables, paired differences with intervals, a plot.
"""

from .definitions import (
    DIGITS,
    FAULTS,
    FFN,
    KV_HEADS,
    LABORATORY,
    LONGER,
    NOISY,
    POSITIONS,
    SCALING,
    STUDIES,
    UPTRAINING,
)
from .laboratory import Setting
from .measures import ByPosition, Examination, Longer, UnseenLoss
from .recorded import Recorded, load
from .study import Study
from .watching import Watch

__all__ = [
    "DIGITS",
    "FAULTS",
    "FFN",
    "KV_HEADS",
    "LABORATORY",
    "LONGER",
    "NOISY",
    "POSITIONS",
    "SCALING",
    "STUDIES",
    "UPTRAINING",
    "ByPosition",
    "Examination",
    "Longer",
    "Recorded",
    "Setting",
    "Study",
    "UnseenLoss",
    "Watch",
    "load",
]
