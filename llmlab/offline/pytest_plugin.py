"""A pytest plugin that gives nbval's kernels the environment of `llmlab.offline`.

Load it with `-p llmlab.offline.pytest_plugin`. Tests that are no notebooks keep their own network.
"""

import os
import shutil
import tempfile

import pytest

from llmlab.offline import kernel_environment

_SCRATCH = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_SCRATCH] = tempfile.mkdtemp(prefix="llmlab-kernels-")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[_SCRATCH], ignore_errors=True)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item):
    """nbval starts a kernel while a notebook's first cell is set up, with the environment of that moment."""
    if type(item).__name__ != "IPyNbCell":
        return (yield)
    before = dict(os.environ)
    scratch = tempfile.mkdtemp(dir=item.config.stash[_SCRATCH])
    env = kernel_environment(scratch, before)
    try:
        for name in before.keys() - env.keys():
            del os.environ[name]
        os.environ.update(env)
        return (yield)
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
