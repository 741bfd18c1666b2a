"""Tests are shared between workers as they must be: a notebook's cells on one of them, in order."""

from types import SimpleNamespace

import pytest
from schedule import RECORDS_EDITS, ByUnit, rank, time_by_part

BROWSER = "tests/browser/test_notebooks_in_jupyterlab.py::test_a_notebook_runs"
TESTS = [f"tests/test_{name}.py::test_{n}" for name in ("heads", "rope", "training") for n in range(30)]
TESTS += [f"{BROWSER}[{name}.ipynb]" for name in ("00_welcome", "05a_by_hand", "05b_heads", "12_kv_cache")]
TESTS += [f"{BROWSER}_and_so_on", "tests/browser/test_quiz.py::test_keys[05]"]
TESTS += [
    f"notebooks/{name}.ipynb::Cell {n}" for name in ("05a_by_hand", "05b_heads", "12_kv_cache") for n in range(90)
]


class Worker:
    """Stands in for a worker of xdist: remembers in which order it is to run which tests."""

    def __init__(self, name):
        self.gateway = SimpleNamespace(id=name)
        self.tests, self.done, self.shutting_down = [], 0, False

    def send_runtest_some(self, indices):
        self.tests += indices

    def shutdown(self):
        self.shutting_down = True


def share(tests: list[str]) -> list[list[str]]:
    """What each of two workers runs of these tests. They take turns, the second being three times as fast."""
    option = SimpleNamespace(loadscopereorder=True, tx=["popen", "popen"])
    config = SimpleNamespace(option=option, getvalue=lambda name: getattr(option, name))
    scheduler, workers = ByUnit(config, SimpleNamespace(loadscopesched=lambda *_: None)), [Worker("a"), Worker("b")]
    order = sorted(tests, key=rank)
    for worker in workers:
        scheduler.add_node(worker)
        scheduler.add_node_collection(worker, order)
    scheduler.schedule()
    while any(worker.done < len(worker.tests) for worker in workers):
        for worker in (workers[0], workers[1], workers[1], workers[1]):
            if worker.done < len(worker.tests):
                worker.done += 1
                scheduler.mark_test_complete(worker, worker.tests[worker.done - 1])
    return [[order[index] for index in worker.tests] for worker in workers]


@pytest.fixture
def shared() -> list[list[str]]:
    return share(TESTS)


def test_every_test_runs_once(shared):
    assert sorted(shared[0] + shared[1]) == sorted(TESTS)


def test_a_files_tests_run_on_one_worker_one_after_the_other_in_their_order(shared):
    for file in {test.partition("::")[0] for test in TESTS}:
        tests = [test for test in TESTS if test.startswith(f"{file}::")]
        if "in_jupyterlab" not in file:
            [ran] = [ran for ran in shared if tests[0] in ran]
            start = ran.index(tests[0])
            assert ran[start : start + len(tests)] == tests


def test_the_browsers_notebooks_are_shared_by_chapter():
    first, second = share([test for test in TESTS if test.endswith(".ipynb]")])
    chapters = [{test.partition("[")[2][:2] for test in ran} for ran in (first, second)]
    assert chapters[0] and chapters[1] and not chapters[0] & chapters[1]
    assert len(first) + len(second) == 4


def test_files_that_record_the_same_edits_run_on_one_worker():
    tests = [f"{file}::test_{n}" for file in (*RECORDS_EDITS, "tests/browser/test_quiz.py") for n in range(20)]
    both = {test for test in tests if test.startswith(RECORDS_EDITS)}
    assert sorted(len(both & set(ran)) for ran in share(tests)) == [0, len(both)]


def test_the_longest_units_begin_first(shared):
    assert [rank(test) for test in shared[0]] == sorted(rank(test) for test in shared[0])
    assert shared[0][0].startswith("notebooks/") and shared[1][0].startswith("notebooks/")


def test_the_time_of_each_part_is_the_sum_of_its_reports():
    reports = [SimpleNamespace(nodeid=test, duration=duration) for test, duration in [
        ("notebooks/00_welcome.ipynb::Cell 0", 3.0), ("notebooks/00_welcome.ipynb::Cell 1", 1.5),
        ("notebooks/05a_by_hand.ipynb::Cell 0", 20.25), ("tests/test_rope.py::test_1", 0.25),
        (f"{BROWSER}[00_welcome.ipynb]", 9.0), ("tests/browser/test_quiz.py::test_keys[05]", 8.0),
        ("tests/test_rope.py::test_1", 1.0), ("tests/test_norms.py::test_1", 0.25),
    ]]  # fmt: skip
    assert time_by_part(reports) == [
        "notebooks: 25 s (05a_by_hand 20, 00_welcome 4)",
        "other tests: 2 s (test_rope 1)",
        "browser: 17 s (00_welcome 9, test_quiz 8)",
    ]
