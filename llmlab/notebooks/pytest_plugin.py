"""A pytest plugin that gives nbval's kernels the environment of `llmlab.offline`, and nbval our way of comparing.

In the kernels newly drawn weights are perturbed, so that a run that another processor would end elsewhere fails here;
outputs are the same when they are by `llmlab.notebooks.comparing`. Load it with `-p llmlab.notebooks.pytest_plugin`.
Tests that are no notebooks keep their own network, and their weights.
"""

import os
import shutil
import tempfile

import nbval.plugin
import pytest

from llmlab.notebooks.comparing import differences
from llmlab.offline import kernel_environment

_SCRATCH = pytest.StashKey[str]()
_NBVALS_OWN = nbval.plugin.IPyNbCell.compare_outputs


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_SCRATCH] = tempfile.mkdtemp(prefix="llmlab-kernels-")
    nbval.plugin.IPyNbCell.compare_outputs = _compare_outputs


def pytest_unconfigure(config: pytest.Config) -> None:
    nbval.plugin.IPyNbCell.compare_outputs = _NBVALS_OWN
    shutil.rmtree(config.stash[_SCRATCH], ignore_errors=True)


def _compare_outputs(cell: nbval.plugin.IPyNbCell, got: list, expected: list, skip_compare: object = None) -> bool:
    """Whether a cell's outputs are as expected; what differs is left where nbval reports from."""
    cell.comparison_traceback = differences(expected, got)
    return not cell.comparison_traceback


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item):
    """nbval starts a kernel while a notebook's first cell is set up, with the environment of that moment."""
    if not isinstance(item, nbval.plugin.IPyNbCell):
        return (yield)
    before = dict(os.environ)
    scratch = tempfile.mkdtemp(dir=item.config.stash[_SCRATCH])
    env = kernel_environment(scratch, before, perturbed=True)
    try:
        for name in before.keys() - env.keys():
            del os.environ[name]
        os.environ.update(env)
        return (yield)
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
