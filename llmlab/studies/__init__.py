"""Studies: models that a chapter compares and that no notebook has time to train, recorded with their chance.

`llmlab study NAME` trains each setting of a study from several seeds and records what it measures in
`data/studies/NAME.json`. `studies.load("NAME")` opens that record: tables, paired differences with intervals, a plot.
"""

from .definitions import DIGITS, FFN, KV_HEADS, LABORATORY, POSITIONS, STUDIES
from .laboratory import Setting
from .measures import ByPosition, Examination
from .recorded import Recorded, load
from .study import Study

__all__ = [
    "DIGITS",
    "FFN",
    "KV_HEADS",
    "LABORATORY",
    "POSITIONS",
    "STUDIES",
    "ByPosition",
    "Examination",
    "Recorded",
    "Setting",
    "Study",
    "load",
]
