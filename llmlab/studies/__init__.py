"""Studies: models that a chapter compares and that no notebook has time to train, recorded with their chance.

`llmlab study NAME` trains each setting of a study from several seeds and records what it measures in
`data/studies/NAME.json`. `studies.load("NAME")` opens that record: tables, paired differences with intervals, a plot.
"""

from .answers import Answers
from .definitions import (
    DIGITS,
    FAULTS,
    FFN,
    KV_HEADS,
    LABORATORY,
    LONGER,
    NOISY,
    POSITIONS,
    ROUNDING,
    SCALING,
    STUDIES,
    UPTRAINING,
)
from .laboratory import Setting
from .measures import ByPosition, Examination, Longer, UnseenLoss
from .recorded import Recorded, load
from .rounding import Rounding
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
    "ROUNDING",
    "SCALING",
    "STUDIES",
    "UPTRAINING",
    "Answers",
    "ByPosition",
    "Examination",
    "Longer",
    "Recorded",
    "Rounding",
    "Setting",
    "Study",
    "UnseenLoss",
    "Watch",
    "load",
]
