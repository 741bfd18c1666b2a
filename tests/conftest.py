"""What all tests share: one thread each in xdist's workers, one kernel for products, no window for plots, examples
that repeat, a schedule."""

import itertools
import os
from pathlib import Path

import pytest
from hypothesis import settings
from schedule import ByUnit, rank, time_by_part

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported, which nothing has done yet
os.environ["LLMLAB_KERNEL"] = "plain"  # a test that wants another asks for it
os.environ.setdefault("MPLBACKEND", "Agg")

settings.register_profile("ci", derandomize=True, deadline=None)
settings.load_profile("ci")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: rank(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log) -> ByUnit:
    return ByUnit(config, log)


def pytest_terminal_summary(terminalreporter) -> None:
    """Says how long each part took when the notebooks ran too."""
    if terminalreporter.config.getoption("nbval", False):
        reports = itertools.chain(*terminalreporter.stats.values())
        terminalreporter.section("time by part, in seconds of one worker")
        terminalreporter.write_line("\n".join(time_by_part(r for r in reports if isinstance(r, pytest.TestReport))))


@pytest.fixture(scope="session")
def repo() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parents[1]
