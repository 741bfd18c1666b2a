"""Whether two runs of a cell say the same: equal as text, where a printed number may end one unit further.

Another processor adds in another order, so that 0.1235 may be printed as 0.123 there and as 0.124 here. A number with
digits behind a decimal point, or with an exponent, and a percentage may differ by one unit of its last digit. Where
two printed numbers have unequally many digits (0.3 and 0.31, 9.99 and 10.0), the finer unit counts. White space beside
such a number does not count, because columns follow the width of what stands in them.

All else must be equal to the character: words, counts (12), whole floats (numpy's `1.`), nan and inf, digits inside
names and versions (x0.5, 2.13.0), the kinds of outputs and their order. Pictures are not compared: their fonts differ.
Their text alternatives are.
"""

import difflib
import json
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal

from nbformat import NotebookNode

from llmlab.notebooks.form import kept_outputs, without_pictures

PICTURES = ("image/png", "image/jpeg")

_NUMBER = re.compile(
    r"""
    (?<![\w.]) [-+−]?                                        # not inside a name or a version
    (?:\d{1,3}(?:,\d{3})+|\d+)
    (?:(?:\.\d*)?e[-+]\d{2,3} | \.\d* | (?=\ ?%))            # 1.5e-05 or 0.123 or 99 %
    (?!\d|\.\d)
    """,
    re.VERBOSE,
)


def same_text(expected: str, got: str) -> bool:
    """Whether two texts are equal but for the last digits of their numbers, as the rules above say."""
    expected, got = f"|{expected}|", f"|{got}|"  # so that what is stripped below stands beside a number
    words = [[piece.strip() for piece in _NUMBER.split(text)] for text in (expected, got)]
    return words[0] == words[1] and all(map(_same_number, _NUMBER.findall(expected), _NUMBER.findall(got)))


def _same_number(expected: str, got: str) -> bool:
    a, b = (Decimal(number.replace(",", "").replace("−", "-")) for number in (expected, got))
    if expected.endswith(".") and got.endswith("."):
        return a == b
    finer = min(a.as_tuple().exponent, b.as_tuple().exponent)
    return abs(a - b) <= Decimal(1).scaleb(finer)


def differences(expected: Sequence[NotebookNode], got: Sequence[NotebookNode]) -> list[str]:
    """What differs between two lists of a cell's outputs, a few lines of text for each; empty if they are the same."""
    ours, theirs = list(_values(expected)), list(_values(got))
    kinds = [[kind for kind, _ in values] for values in (ours, theirs)]
    if kinds[0] != kinds[1]:
        return [f"expected outputs of the kinds {kinds[0]}, got {kinds[1]}"]
    return [
        "\n".join([f"{kind} differs:", *_changed_lines(a, b)])
        for (kind, a), (_, b) in zip(ours, theirs, strict=True)
        if not same_text(a, b)
    ]


def _changed_lines(expected: str, got: str) -> Iterator[str]:
    return difflib.unified_diff(expected.splitlines(), got.splitlines(), "expected", "got", n=0, lineterm="")


def _values(outputs: Sequence[NotebookNode]) -> Iterator[tuple[str, str]]:
    """The kind and the text of everything that a reader sees of some outputs."""
    for output in kept_outputs(outputs):
        if output["output_type"] == "stream":
            yield output["name"], output["text"]
        elif output["output_type"] == "error":
            yield "error", f"{output['ename']}: {output['evalue']}"
        else:
            for kind, value in sorted(output["data"].items()):
                if kind not in PICTURES:
                    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
                    yield kind, without_pictures(text)
