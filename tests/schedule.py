"""How the tests are shared between the workers, and how long each part took.

What belongs together stays on one worker, in its order: a file, be it tests or the cells of a notebook, which meet one
kernel. Only the file that runs the notebooks in a browser is a unit for each chapter, and two files that compute the
same are one. The longest units begin first, so that the workers end together.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable

import pytest
from xdist.scheduler import LoadScopeScheduling

LONGEST = ("notebooks/", "tests/browser/test_notebooks", "tests/browser/test_fact_tracer_page.py")
LONGEST += ("tests/browser/test_fit.py", "tests/test_studies.py", "tests/test_training.py", "tests/browser/")
LONGEST += ("tests/test_notebooks.py", "tests/test_launcher.py", "tests/test_world.py", "tests/test_model_card.py")
# They save pages of the fact tracer, whose edits of the model take a process 20 seconds, once.
RECORDS_EDITS = ("tests/browser/test_fact_tracer_page.py", "tests/browser/test_fit.py")
IN_BROWSER = re.compile(r"^tests/browser/.*\[((\d\d)[^\]]*)\.ipynb\]$")


def rank(test: str) -> int:
    """Where a test stands in the order: the first to begin have 0."""
    return next((place for place, start in enumerate(LONGEST) if test.startswith(start)), len(LONGEST))


def unit(test: str) -> str:
    """What a test shares its worker with: its file, at times one more, or a chapter's notebooks in the browser."""
    file, match = test.partition("::")[0], IN_BROWSER.match(test)
    if file in RECORDS_EDITS:
        return RECORDS_EDITS[0]
    return f"{file} {match[2]}" if match else file


class ByUnit(LoadScopeScheduling):
    """Hands whole units to the workers, in the order of the tests."""

    def __init__(self, config: pytest.Config, log=None):
        super().__init__(config, log)
        config.option.loadscopereorder = False  # the units with most tests are not the longest

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)


def time_by_part(reports: Iterable[pytest.TestReport]) -> list[str]:
    """Lines that say how long the notebooks, the browser and the other tests took, and which files most of it."""
    seconds: dict[str, Counter[str]] = defaultdict(Counter)
    for report in reports:
        file, match = report.nodeid.partition("::")[0], IN_BROWSER.match(report.nodeid)
        kind = "notebooks" if file.endswith(".ipynb") else "browser" if "/browser/" in file else "other tests"
        part = match[1] if match else re.sub(r"\.\w+$", "", file.rpartition("/")[2])
        seconds[kind][part] += report.duration
    lines = []
    for kind, parts in seconds.items():
        named = [f"{part} {time:.0f}" for part, time in parts.most_common() if time >= 1]
        lines.append(f"{kind}: {parts.total():.0f} s ({', '.join(named) or 'each less than 1'})")
    return lines
