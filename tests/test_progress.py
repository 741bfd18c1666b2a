"""The store of the learner's progress: nothing is lost, and no trouble with the disk is fatal."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlab.exercises import store as stores
from llmlab.exercises.store import Store, empty, entry, home, number, parse, store_in


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "home"


def add(name):
    """A change that counts one more attempt at exercise `name`."""

    def change(progress):
        record = entry(progress, "exercises", name)
        record["attempts"] = number(record, "attempts") + 1

    return change


def attempts(store, name="a.b"):
    return number(entry(store.read()[0], "exercises", name), "attempts")


def test_what_is_recorded_is_there_in_the_next_session(folder):
    assert Store(folder).update(add("a.b"))[1] == ""
    assert attempts(Store(folder)) == 1
    assert json.loads((folder / "progress.json").read_text())["version"] == 1


def test_who_only_looks_leaves_no_file_behind(folder):
    assert Store(folder).read() == (empty(), "")
    assert not folder.exists()


def test_the_home_is_named_by_the_environment_or_the_users_own(monkeypatch, tmp_path):
    monkeypatch.setenv("LLMLAB_HOME", str(tmp_path / "here"))
    assert home() == tmp_path / "here"
    monkeypatch.delenv("LLMLAB_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert home() == tmp_path / ".llmlab" and store_in(home()) is store_in(home())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\x00" * 100,
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        b'{"version": "1"}',
        b'{"version": 0}',
        b'{"version": true, "exercises": 1}',
        b'{"version": 1, "exercises": []}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_is_set_aside_and_said_in_one_line(folder, content):
    folder.mkdir()
    (folder / "progress.json").write_bytes(content)
    (folder / "progress.damaged-1.json").write_text("an earlier one")
    store = Store(folder)
    progress, note = store.update(add("a.b"))
    assert entry(progress, "exercises", "a.b") == {"attempts": 1}
    assert note == "The record of your progress could not be read. It was set aside as progress.damaged-2.json."
    assert (folder / "progress.damaged-2.json").read_bytes() == content
    assert (folder / "progress.damaged-1.json").read_text() == "an earlier one"
    assert store.read()[1] == "" and attempts(store) == 1


@given(st.binary(max_size=60))
def test_any_bytes_are_progress_or_a_value_error(content):
    with contextlib.suppress(ValueError):
        assert parse(content)["version"] == 1


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.dictionaries(st.text(), x)))
def test_entries_edited_by_hand_do_not_stop_the_count(value):
    progress = empty() | {"exercises": {"a.b": value}}
    if isinstance(value, dict):
        value["attempts"] = "many"
    add("a.b")(progress)
    assert progress["exercises"]["a.b"]["attempts"] == 1


def test_a_file_of_a_later_version_is_left_as_it_is(folder):
    folder.mkdir()
    later = b'{"version": 2, "stars": 5}'
    (folder / "progress.json").write_bytes(later)
    store = Store(folder)
    _, note = store.update(add("a.b"))
    assert "kept for this session only" in note and "it has format 2, this course writes 1" in note
    assert attempts(store) == 1 and (folder / "progress.json").read_bytes() == later


def test_what_could_not_be_written_is_kept_and_written_later(folder):
    folder.write_text("a file where the folder should be")
    store = Store(folder)
    notes = [store.update(add("a.b"))[1] for _ in range(2)]
    assert all(note.startswith("Progress is kept for this session only; cannot write ") for note in notes)
    assert "\n" not in notes[0] and attempts(store) == 2
    folder.unlink()
    Store(folder).update(add("a.b"))  # another notebook
    assert store.update(add("a.b"))[1] == ""
    assert attempts(Store(folder)) == 4


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_told(folder):
    folder.mkdir(mode=0o500)
    assert "Permission denied" in Store(folder).update(add("a.b"))[1]


def test_a_full_disk_leaves_the_old_file_and_no_litter(folder, monkeypatch):
    store = Store(folder)
    store.update(add("a.b"))
    before = (folder / "progress.json").read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stores.os, "fsync", full)
    assert "No space left on device" in store.update(add("a.b"))[1]
    assert (folder / "progress.json").read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == ["progress.json", "progress.lock"]
    assert attempts(store) == 2
    monkeypatch.undo()
    assert store.update(add("a.b"))[1] == "" and attempts(Store(folder)) == 3


def test_a_write_that_is_cut_off_leaves_the_old_file(folder, monkeypatch):
    store = Store(folder)
    store.update(add("a.b"))

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(stores.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        store.update(add("a.b"))
    monkeypatch.undo()
    assert attempts(Store(folder)) == 1
    assert sorted(path.name for path in folder.iterdir()) == ["progress.json", "progress.lock"]


def test_threads_that_write_at_once_lose_nothing(folder):
    def write():
        for _ in range(20):
            Store(folder, patience=60).update(add("a.b"))

    workers = [threading.Thread(target=write) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert attempts(Store(folder)) == 80


# Without torch, so that the processes start in a moment: the store is loaded from its file.
PROCESS = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("store", sys.argv[1])
store = sys.modules["store"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(store)
def change(progress):
    record = store.entry(progress, "exercises", "a.b")
    record["attempts"] = store.number(record, "attempts") + 1
for _ in range(50):
    _, note = store.Store(sys.argv[2], patience=60).update(change)
    assert note == "", note
"""


def test_processes_that_write_at_once_lose_nothing(folder):
    command = [sys.executable, "-c", PROCESS, str(Path(stores.__file__)), str(folder)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    assert attempts(Store(folder)) == 150


def test_who_dies_with_the_lock_leaves_it_free(folder):
    code = PROCESS.partition("def change")[0] + (
        "import os\ns = store.Store(sys.argv[2]); s.folder.mkdir()\nwith s._lock(): os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(Path(stores.__file__)), str(folder)], check=True)
    assert (folder / "progress.lock").exists()
    assert Store(folder, patience=0).update(add("a.b"))[1] == ""


def test_a_notebook_that_holds_the_lock_too_long_is_not_waited_for_forever(folder):
    patient, other = Store(folder, patience=0), Store(folder)
    folder.mkdir()
    with other._lock():
        _, note = patient.update(add("a.b"))
    assert "another notebook is writing and does not finish" in note
    assert patient.update(add("a.b"))[1] == "" and attempts(Store(folder)) == 2
