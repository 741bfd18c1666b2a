"""How facts are told: the ways of telling each relation, and of asking for it.

A bar `|` marks where a prompt ends and its answer begins. What ends in its subject is told and never asked: "From milk
people make" has two answers. Held-out wordings are kept for evaluation and are never told in training.

The second reading adds to the wordings of the first: statements of other syntax, short dialogues, entries of a list,
questions. The answer stands first in some, in which it is told and not asked for. Its held-out wordings were written by
somebody who had not read those of training, as a reader would ask; near copies of training were then taken out.
"""

from .first import INVENTED, PROFILES, TRUE
from .records import Wordings
from .second_invented import MORE_INVENTED, MORE_PROFILES
from .second_true import MORE_TRUE

__all__ = ["INVENTED", "MORE_INVENTED", "MORE_PROFILES", "MORE_TRUE", "PROFILES", "TRUE", "Wordings"]
