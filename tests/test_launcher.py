"""lab.py: what it installs and when, the learner's copies, what it says if something is wrong, JupyterLab."""

import ast
import asyncio
import contextlib
import errno
import http.server
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest
import tornado.websocket

from llmlab.notebooks.serving import WorkingCopies

ROOT = Path(__file__).resolve().parent.parent
spec = importlib.util.spec_from_file_location("lab", ROOT / "lab.py")
lab = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lab)

WANTS_CPU_INDEX, REQUIRE_SPACE = lab.wants_cpu_index, lab.require_space
POSIX_ONLY = pytest.mark.skipif(os.name == "nt", reason="uses POSIX scripts and signals")


def write_notebook(path: Path, source: str, output: str | None = None) -> None:
    cell = nbformat.v4.new_code_cell(source, id="cell", execution_count=1)
    if output is not None:
        cell.outputs = [nbformat.v4.new_output("execute_result", {"text/plain": output}, execution_count=1)]
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """A small course in a folder with a space in its name."""
    root = tmp_path / "my course"
    (root / "notebooks" / "assets").mkdir(parents=True)
    shutil.copy(ROOT / "lab.py", root)
    (root / "environment.yml").write_text(
        "dependencies:\n  - python=3.11\n  - pip\n  - pip:\n"
        "      - --extra-index-url https://example.org/cpu\n"
        "      - torch==2.13.0\n      - numpy==2.4.6\n      - -e .\n"
    )
    (root / "pyproject.toml").write_text('[project]\nname = "small"\n')
    for name in ("00_welcome", "05_attention", "12a_cache_derived", "12b_cache_counted"):
        write_notebook(root / "notebooks" / f"{name}.ipynb", "1 + 1", "2")
    (root / "notebooks" / "assets" / "picture.svg").write_text("<svg/>")
    return root


def start(root: Path, *arguments: str, **options) -> subprocess.CompletedProcess:
    """Run lab.py as a learner does."""
    command = [sys.executable, str(root / "lab.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


class FakeMachine:
    """Stands in for venv and pip: remembers what was asked; a file in .venv says what is installed."""

    def __init__(self, root: Path):
        self.venv = root / ".venv"
        self.made, self.installs, self.failure = 0, [], None

    def make_venv(self, venv: Path) -> None:
        shutil.rmtree(venv, ignore_errors=True)
        venv.mkdir()
        self.made += 1
        self.set_versions({"pip": "26.0"})

    def pip_install(self, root: Path, requirements: list[str]) -> None:
        self.installs.append(requirements)
        if self.failure:
            raise self.failure
        self.set_versions({"pip": "26.0", **lab.pinned_versions(requirements)})

    def what_it_prints(self, python: Path, *arguments: str) -> str | None:
        if not (self.venv / "fake.json").exists():
            return None
        versions = json.loads((self.venv / "fake.json").read_text())
        names = ("pip",) if arguments[:2] == ("-m", "pip") else arguments[2:]
        return " ".join(versions[name] for name in names) if versions.keys() >= set(names) else None

    def set_versions(self, versions: dict[str, str]) -> None:
        (self.venv / "fake.json").write_text(json.dumps(versions))


@pytest.fixture
def machine(course: Path, monkeypatch) -> FakeMachine:
    fake = FakeMachine(course)
    for name in ("make_venv", "pip_install", "what_it_prints"):
        monkeypatch.setattr(lab, name, getattr(fake, name))
    monkeypatch.setattr(lab, "wants_cpu_index", lambda: False)
    monkeypatch.setattr(lab, "require_space", lambda *arguments: None)
    return fake


# ------------------------------------------------------------------------------------ the command line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--frobnicate"], "--frobnicate"),
        (["tests"], "tests"),
        (["rest", "05"], "there is no rest; did you mean reset?"),
        (["--no-broser"], "did you mean --no-browser?"),
        (["reset"], "NN"),
        (["--port", "http"], "invalid int value: 'http'"),
    ],
)
def test_a_command_line_it_does_not_know_gets_a_usage_line(course, arguments, said):
    done = start(course, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: python3 lab.py [--no-browser] [--port N] | test [pytest arguments] |")
    assert said in done.stderr
    assert not (course / ".venv").exists()


def test_help_names_every_command(course):
    said = start(course, "--help").stdout
    assert all(word in said for word in ("--no-browser", "--port", "test", "reset"))


# --------------------------------------------------------------------------------------- an old Python


def test_an_old_python_is_named_with_what_to_do():
    said = lab.python_problem((3, 9, 6, "final", 0))
    assert "Python 3.9 is too old, the course needs 3.11 or newer" in said
    assert "python.org" in said or "start with `python3." in said
    assert lab.python_problem((3, 11, 0)) is None
    assert lab.python_problem((3, 14, 0)) is None


def test_the_file_parses_on_python_3_6():
    tree = ast.parse((ROOT / "lab.py").read_text(encoding="utf8"), feature_version=(3, 6))
    futures = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    assert not futures  # `annotations` is unknown to Python 3.6


@pytest.mark.parametrize("minor", range(6, 11))
def test_real_old_pythons_say_it_in_one_line(minor):
    folders = sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin"))
    python = shutil.which(f"python3.{minor}", path=os.pathsep.join([*map(str, folders), os.environ["PATH"]]))
    if python is None or subprocess.call([python, "-c", ""], stderr=subprocess.DEVNULL) != 0:
        pytest.skip(f"no Python 3.{minor} here")
    done = subprocess.run([python, str(ROOT / "lab.py")], stderr=subprocess.PIPE, timeout=300)
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 1
    assert len(lines) == 1
    assert lines[0].startswith(f"lab.py: Python 3.{minor} is too old")


# ------------------------------------------------------------------------- what is installed, and when


def test_the_first_start_installs_the_list_and_the_second_nothing(course, machine):
    lab.ensure_environment(course)
    lab.ensure_environment(course)
    assert machine.made == 1
    assert machine.installs == [["torch==2.13.0", "numpy==2.4.6", "-e ."]]


@pytest.mark.parametrize("file", ["environment.yml", "pyproject.toml"])
def test_a_changed_list_installs_again_into_the_same_environment(course, machine, file):
    lab.ensure_environment(course)
    (course / file).write_text((course / file).read_text().replace("2.4.6", "2.5.0") + "# changed\n")
    lab.ensure_environment(course)
    lab.ensure_environment(course)
    assert (machine.made, len(machine.installs)) == (1, 2)


def test_a_moved_folder_installs_again(course, machine):
    lab.ensure_environment(course)
    moved = course.rename(course.with_name("elsewhere"))
    machine.venv = moved / ".venv"
    lab.ensure_environment(moved)
    assert (machine.made, len(machine.installs)) == (1, 2)


@pytest.mark.parametrize("versions", [{"torch": "2.13.0"}, {"torch": "2.13.0", "numpy": "2.4.5"}])
def test_a_package_that_was_taken_away_or_changed_is_installed_again(course, machine, versions):
    lab.ensure_environment(course)
    machine.set_versions({"pip": "26.0", **versions})
    lab.ensure_environment(course)
    assert (machine.made, len(machine.installs)) == (1, 2)


@pytest.mark.parametrize("versions", [None, {}], ids=["its Python does not run", "it has no pip"])
def test_an_environment_that_cannot_be_brought_up_to_date_is_made_anew(course, machine, versions):
    lab.ensure_environment(course)
    if versions is None:
        (course / ".venv" / "fake.json").unlink()
    else:
        machine.set_versions(versions)
    lab.ensure_environment(course)
    assert (machine.made, len(machine.installs)) == (2, 2)


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), lab.Problem("no network")])
@pytest.mark.parametrize("when", ["the first set-up", "an update"])
def test_a_set_up_that_was_cut_off_or_failed_is_made_anew(course, machine, failure, when):
    if when == "an update":
        lab.ensure_environment(course)
        (course / "pyproject.toml").write_text("# changed\n")
    machine.failure = failure
    with pytest.raises(type(failure)):
        lab.ensure_environment(course)
    machine.failure = None
    made = machine.made
    lab.ensure_environment(course)
    lab.ensure_environment(course)
    assert machine.made == made + 1


def test_versions_other_than_the_listed_ones_are_not_taken_for_ready(course, machine, monkeypatch):
    monkeypatch.setattr(lab, "pip_install", lambda *a: machine.set_versions({"torch": "2.12.0", "numpy": "2.4.6"}))
    with pytest.raises(lab.Problem, match="lacks listed versions"):
        lab.ensure_environment(course)


def test_the_versions_of_a_real_python_are_read():
    numpy = importlib.metadata.version("numpy")
    python = Path(sys.executable)
    assert lab.has_versions(python, {"numpy": numpy})
    assert not lab.has_versions(python, {"numpy": numpy + ".1"})
    assert not lab.has_versions(python, {"numpy": numpy, "no-such-package": "1"})
    assert not lab.has_versions(python.with_name("no-such-python"), {})


def test_two_set_ups_at_the_same_time_are_refused(course, machine):
    with lab.only_one(course / ".venv.lock"), pytest.raises(lab.Problem, match="another lab"):
        lab.ensure_environment(course)
    lab.ensure_environment(course)  # the lock is gone with its holder


def test_too_little_disk_is_said_before_anything_is_made(course, machine, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(lab.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100 * 10**9, 0, 1.2e9))
    monkeypatch.setattr(lab, "wants_cpu_index", lambda: True)
    with pytest.raises(lab.Problem, match=r"1\.2 GB are free in .*, the set-up needs 3 GB: free some"):
        lab.ensure_environment(course)
    assert not (course / ".venv").exists()


@POSIX_ONLY
def test_a_half_made_environment_is_repaired_by_the_real_venv_and_pip(course, monkeypatch):
    (course / "environment.yml").write_text("dependencies:\n  - pip:\n    - pip>=20\n")  # needs no network
    monkeypatch.setattr(lab, "wants_cpu_index", lambda: False)
    monkeypatch.setattr(lab, "require_space", lambda *arguments: None)
    (course / ".venv" / "bin").mkdir(parents=True)
    (course / ".venv" / "bin" / "python").write_text("cut off")
    (course / ".venv" / "rest").touch()
    python = lab.ensure_environment(course)
    assert subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode == 0
    assert "Requirement already satisfied: pip" in (course / ".venv" / "install.log").read_text()
    assert not (course / ".venv" / "rest").exists()
    monkeypatch.setattr(lab, "pip_install", None)  # a second installation would fail
    assert lab.ensure_environment(course) == python


# --------------------------------------------------------------------------------------- the CPU build


@pytest.mark.parametrize(
    ("linux", "gpu", "answers", "index"),
    [
        (True, False, True, True),
        (True, False, False, False),
        (True, True, True, False),
        (False, False, True, False),
    ],
)
def test_the_cpu_index_is_used_on_linux_without_a_gpu_when_it_answers(
    course, machine, monkeypatch, linux, gpu, answers, index
):
    monkeypatch.setattr(lab, "wants_cpu_index", WANTS_CPU_INDEX)
    monkeypatch.setattr(lab.sys, "platform", "linux" if linux else "darwin")
    monkeypatch.setattr(lab, "has_nvidia_gpu", lambda: gpu)
    monkeypatch.setattr(lab, "answers", lambda url, seconds: answers)
    lab.ensure_environment(course)
    [requirements] = machine.installs
    assert requirements == ["--extra-index-url " + lab.CPU_INDEX] * index + [
        "torch==2.13.0",
        "numpy==2.4.6",
        "-e .",
    ]


@pytest.mark.parametrize(
    ("free", "found", "installs"),
    [
        (100, "torch (2.13.0)", True),
        (8, "torch (2.13.0)", False),
        (8, "torch (2.13.0+cpu)\nAvailable versions: 2.13.0+cpu, 2.12.0", True),
        (8, "torch (2.12.0+cpu)\nAvailable versions: 2.13.0, 2.12.0+cpu", False),
        (8, None, False),
    ],
)
def test_a_build_with_cuda_is_said_and_measured_before_it_is_fetched(
    course, machine, monkeypatch, capsys, free, found, installs
):
    def what_it_prints(python, *arguments):
        return found if "index" in arguments else machine.what_it_prints(python, *arguments)

    monkeypatch.setattr(lab, "wants_cpu_index", lambda: True)
    monkeypatch.setattr(lab.sys, "platform", "linux")
    monkeypatch.setattr(lab, "answers", lambda url, seconds: False)
    monkeypatch.setattr(lab, "what_it_prints", what_it_prints)
    monkeypatch.setattr(lab, "require_space", REQUIRE_SPACE)
    monkeypatch.setattr(lab.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**12, 0, free * 10**9))
    if installs:
        lab.ensure_environment(course)
    else:
        with pytest.raises(lab.Problem, match=r"8\.0 GB are free in .*, the set-up needs 12 GB: .* answers: 3 GB will"):
            lab.ensure_environment(course)
    assert len(machine.installs) == installs
    said = capsys.readouterr().out
    assert "does not answer" in said and ("about 3 GB are fetched" in said) == ("2.13.0+cpu" not in (found or ""))
    if installs:  # torch is there now: bringing the rest up to date needs no such room
        (course / "pyproject.toml").write_text("[project]\nname = 'other'\n")
        monkeypatch.setattr(lab.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**12, 0, 2 * 10**9))
        lab.ensure_environment(course)
        assert len(machine.installs) == 2


def test_pip_says_whether_it_finds_a_cpu_build(tmp_path, monkeypatch):
    for name in ("torch-9.1.0+cpu-py3-none-any.whl", "torch-9.2.0-py3-none-any.whl"):
        (tmp_path / name).touch()
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    python = Path(sys.executable)
    assert lab.finds_cpu_build(python, "9.1.0") and not lab.finds_cpu_build(python, "9.2.0")


def test_an_index_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes the connection and says nothing
        assert lab.answers(f"http://127.0.0.1:{server.getsockname()[1]}/", 1) is False


def test_an_index_that_answers_is_seen_and_one_that_is_not_there_too(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(200 if self.path == "/torch/" else 404)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert lab.answers(f"{address}/torch/", 60) is True
        assert lab.answers(f"{address}/other/", 60) is False
        server.shutdown()
    assert lab.answers(f"{address}/torch/", 60) is False


# ------------------------------------------------------------------- what pip says, in words for people

NO_NETWORK = """\
WARNING: Retrying (Retry(total=0, connect=None, read=None)) after connection broken by 'NewConnectionError(
'<pip._vendor.urllib3.connection.HTTPSConnection object>: Failed to establish a new connection: [Errno -3]
Temporary failure in name resolution')': /simple/torch/
ERROR: Could not find a version that satisfies the requirement torch==2.13.0 (from versions: none)
ERROR: No matching distribution found for torch==2.13.0
"""
BUILD_FAILS = """\
echo "2026-01-31T12:00:00,000   WARNING: Retrying (Retry(total=0)) after connection broken" > "$5"
echo "error: subprocess-exited-with-error" >&2"""
NO_BUILD = """\
ERROR: Could not find a version that satisfies the requirement torch==2.13.0 (from versions: 2.9.0, 2.10.0)
ERROR: No matching distribution found for torch==2.13.0
"""


@pytest.mark.parametrize(
    ("log", "cause", "advice"),
    [
        (NO_NETWORK, "the package index cannot be reached", "check the network"),
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            "full",
            "free",
        ),
        (NO_BUILD, "torch==2.13.0 has no build", "start lab.py with Python 3.11 or 3.12"),
        (
            "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]'",
            "certificate",
            "pip config",
        ),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS", "damaged", "pip cache purge"),
        ("ERROR: [WinError 32] The process cannot access the file", "in use", "close every JupyterLab"),
        (
            "OSError: [Errno 2] ... does not have Windows Long Path support enabled.",
            "path is too long",
            "move",
        ),
        ("Collecting x\nERROR: Something unheard of.\n", "ERROR: Something unheard of:", "delete .venv"),
        ("", "pip said nothing", "delete .venv"),
    ],
)
def test_a_failure_of_pip_is_explained_with_what_to_do(log, cause, advice):
    said = lab.explain(log)
    assert cause in said
    assert advice in said
    assert "\n" not in said


@POSIX_ONLY
@pytest.mark.parametrize("fails", [f"cat >&2 <<'END'\n{NO_NETWORK}END", BUILD_FAILS])
def test_a_failing_set_up_says_one_line_that_names_the_log(course, monkeypatch, capfd, fails):
    def make_venv_with_a_pip_that_fails(venv):
        (venv / "bin").mkdir(parents=True)
        python = venv / "bin" / "python"
        python.write_text(f"#!/bin/sh\necho Collecting torch\n{fails}\nexit 1\n")
        python.chmod(0o755)

    monkeypatch.setattr(lab, "make_venv", make_venv_with_a_pip_that_fails)
    monkeypatch.setattr(lab, "wants_cpu_index", lambda: False)
    monkeypatch.setattr(lab, "require_space", lambda *arguments: None)
    monkeypatch.setattr(lab, "ROOT", course)
    assert lab.run(["--no-browser"]) == 1
    said = capfd.readouterr()
    assert said.err.count("\n") == 1
    assert said.err.startswith("lab.py: the package index cannot be reached: check the network")
    assert str(course / ".venv" / "install.log") in said.err
    assert "Collecting torch" in said.out  # pip's own progress
    assert ("The package index does not answer, trying again." in said.out) == (fails != BUILD_FAILS)


@POSIX_ONLY
def test_a_missing_venv_module_is_said_with_the_package_to_install(course, monkeypatch):
    python = course / "python"
    python.write_text(
        "#!/bin/sh\necho 'The virtual environment was not made because ensurepip is not available.'\nexit 1\n"
    )
    python.chmod(0o755)
    monkeypatch.setattr(lab.sys, "executable", str(python))
    with pytest.raises(lab.Problem, match=r"lacks its venv module: .*sudo apt install python3-venv"):
        lab.make_venv(course / ".venv")


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EACCES, "copy it to one of your own"),
        (errno.EROFS, "copy it to one of your own"),
        (errno.ENOENT, "get the course again"),
        (errno.EIO, "mend that and start again"),
    ],
)
def test_what_the_system_refuses_is_said_in_one_line(monkeypatch, capsys, number, advice):
    def refuse(arguments):
        raise OSError(number, os.strerror(number), "some file")

    monkeypatch.setattr(lab, "main", refuse)
    assert lab.run([]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "some file" in said
    assert advice in said


def test_ctrl_c_during_the_set_up_ends_without_a_traceback(monkeypatch, capsys):
    def interrupt(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(lab, "main", interrupt)
    assert lab.run([]) == 130
    assert capsys.readouterr().err == "\nlab.py: stopped. Start again to go on.\n"


# ---------------------------------------------------------------------------------- the working copies


def test_copies_are_made_when_absent_and_never_overwritten(course):
    assert lab.copy_notebooks(course) == []
    copy = course / "work" / "05_attention.ipynb"
    assert copy.read_bytes() == (course / "notebooks" / "05_attention.ipynb").read_bytes()
    assert (course / "work" / "assets" / "picture.svg").read_text() == "<svg/>"
    copy.write_text("mine")
    (course / "work" / "assets" / "picture.svg").write_text("my picture")
    (course / "notebooks" / "assets" / "picture.svg").write_text("a new picture")
    lab.copy_notebooks(course)
    assert copy.read_text() == "mine"
    assert (course / "work" / "assets" / "picture.svg").read_text() == "my picture"
    (course / "work" / "00_welcome.ipynb").unlink()
    lab.copy_notebooks(course)
    assert (course / "work" / "00_welcome.ipynb").exists()
    assert not list((course / "work").rglob("*.part"))


def test_a_newer_notebook_is_said_and_an_untouched_picture_follows(course):
    lab.copy_notebooks(course)
    (course / "work" / "05_attention.ipynb").write_text("mine")
    write_notebook(course / "notebooks" / "05_attention.ipynb", "2 + 2", "4")
    (course / "notebooks" / "assets" / "picture.svg").write_text("a new picture")
    [said] = lab.copy_notebooks(course)
    assert said.startswith("05_attention.ipynb: the course has a newer version")
    assert "lab.py reset 05" in said
    assert (course / "work" / "05_attention.ipynb").read_text() == "mine"
    assert (course / "work" / "assets" / "picture.svg").read_text() == "a new picture"


@pytest.mark.parametrize("damage", ["", "{", "[1, 2]", "null"])
def test_a_damaged_record_of_the_copies_harms_nothing(course, damage):
    lab.copy_notebooks(course)
    (course / "work" / "05_attention.ipynb").write_text("mine")
    (course / "work" / ".copies.json").write_text(damage)
    assert lab.copy_notebooks(course) == []
    assert (course / "work" / "05_attention.ipynb").read_text() == "mine"
    write_notebook(course / "notebooks" / "05_attention.ipynb", "2 + 2", "4")
    assert len(lab.copy_notebooks(course)) == 1  # what is newer from now on is noticed again


def test_every_sitting_of_a_chapter_has_its_copy_and_its_reset(course):
    lab.copy_notebooks(course)
    for name in ("12a_cache_derived.ipynb", "12b_cache_counted.ipynb"):
        (course / "work" / name).write_text("mine")
    write_notebook(course / "notebooks" / "12b_cache_counted.ipynb", "2 + 2", "4")
    [said] = lab.copy_notebooks(course)
    assert said.startswith("12b_cache_counted.ipynb") and "lab.py reset 12b" in said
    lab.reset("12b", course)
    assert (course / "work" / "12a_cache_derived.ipynb").read_text() == "mine"
    assert (course / "work" / "12b_cache_counted.ipynb").read_text() != "mine"


def test_copies_of_an_older_edition_stay_and_are_said_to_be_old(course):
    lab.copy_notebooks(course)
    (course / "work" / "05_attention.ipynb").write_text("mine")
    (course / "notebooks" / "05_attention.ipynb").unlink()
    for name in ("05a_by_hand", "05b_heads"):
        write_notebook(course / "notebooks" / f"{name}.ipynb", "2 + 2", "4")
    [said] = lab.copy_notebooks(course)
    assert said.startswith("05_attention.ipynb: of an older edition; the course now has 05a_by_hand.ipynb, 05b_heads")
    assert (course / "work" / "05_attention.ipynb").read_text() == "mine"
    assert (course / "work" / "05a_by_hand.ipynb").is_file()
    assert lab.copy_notebooks(course) == [said]  # as long as it lies there
    (course / "notebooks" / "12a_cache_derived.ipynb").unlink()
    (course / "notebooks" / "12b_cache_counted.ipynb").unlink()
    assert [line for line in lab.copy_notebooks(course) if "the course no longer has it" in line]
    (course / "work" / "05_attention.ipynb").unlink()
    assert not any("05_attention" in line for line in lab.copy_notebooks(course))


@pytest.mark.parametrize("number", ["05", "5", "05_attention", "05_attention.ipynb"])
def test_reset_gives_a_fresh_copy_and_keeps_the_old_one(course, number):
    lab.copy_notebooks(course)
    (course / "work" / "05_attention.ipynb").write_text("mine")
    said = lab.reset(number, course)
    [old] = (course / "work").glob("05_attention.old-*.ipynb")
    assert re.fullmatch(r"05_attention\.old-\d{8}-\d{6}-\d{6}\.ipynb", old.name)
    assert old.read_text() == "mine"
    assert old.name in said
    fresh = (course / "work" / "05_attention.ipynb").read_bytes()
    assert fresh == (course / "notebooks" / "05_attention.ipynb").read_bytes()
    assert "close its tab" in said


def test_after_a_reset_jupyterlab_sees_another_file_even_where_the_old_one_was_untouched(course):
    lab.copy_notebooks(course)
    copy, source = (course / folder / "05_attention.ipynb" for folder in ("work", "notebooks"))
    for _ in range(3):
        before = copy.read_bytes()
        lab.reset("05", course)
        assert copy.read_bytes() != before and json.loads(copy.read_bytes()) == json.loads(source.read_bytes())


def test_resets_within_a_second_keep_every_version(course):
    lab.copy_notebooks(course)
    for text in ("first", "second", "third"):
        (course / "work" / "05_attention.ipynb").write_text(text)
        lab.reset("05", course)
    kept = {path.read_text() for path in (course / "work").glob("05_attention.old-*.ipynb")}
    assert kept == {"first", "second", "third"}


def test_after_a_reset_the_copy_is_no_longer_called_old(course):
    lab.copy_notebooks(course)
    write_notebook(course / "notebooks" / "05_attention.ipynb", "2 + 2", "4")
    assert len(lab.copy_notebooks(course)) == 1
    lab.reset("05", course)
    assert lab.copy_notebooks(course) == []


@pytest.mark.parametrize("number", ["06", "attention", "", "005", "-1", "12", "12c"])
def test_reset_of_an_unknown_number_lists_the_numbers(course, number):
    with pytest.raises(lab.Problem, match="reset takes one of 00, 05, 12a, 12b"):
        lab.reset(number, course)


def test_reset_needs_no_environment(course):
    done = start(course, "reset", "00")
    assert (done.returncode, done.stdout) == (0, "work/00_welcome.ipynb is as the course has it.\n")
    assert not (course / ".venv").exists()


# -------------------------------------------------------------------------------- tests and JupyterLab


def test_the_test_command_is_one_pytest_over_the_folders_of_pyproject(course):
    command = lab.pytest_command(Path("python"), ["-k", "rope", "tests/test_rope.py"])
    assert command[:3] == ["python", "-m", "pytest"]
    assert command[-3:] == ["-k", "rope", "tests/test_rope.py"]
    assert command[3:-3] == lab.TEST_FLAGS
    flags = " ".join(lab.TEST_FLAGS)
    assert all(
        flag in flags for flag in ("-n 2", "-p llmlab.notebooks.pytest_plugin", "--nbval", "--nbval-current-env")
    )


def test_arguments_after_test_go_to_pytest(course, monkeypatch):
    calls = []
    monkeypatch.setattr(lab, "ensure_environment", lambda root: Path("python"))
    monkeypatch.setattr(lab.subprocess, "call", lambda command, **options: calls.append((command, options)) or 5)
    assert lab.run(["test", "--port", "-x"]) == 5
    [(command, options)] = calls
    assert command == lab.pytest_command(Path("python"), ["--port", "-x"])
    assert options["cwd"] == lab.ROOT
    assert {options["env"][name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")} == {"1"}


def test_a_busy_port_is_said_in_one_line(course):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = start(course, "--no-browser", "--port", str(port))
    assert done.returncode == 1
    assert done.stderr.startswith(f"lab.py: port {port} is in use, or not for you to use: choose a free one")
    assert done.stderr.count("\n") == 1
    assert not (course / ".venv").exists()  # said before anything is installed


@pytest.mark.parametrize("port", ["70000", "-1"])
def test_a_number_that_is_no_port_is_said_in_one_line(course, port):
    done = start(course, "--no-browser", f"--port={port}")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "choose a free one from 1024 to 65535" in done.stderr


def test_jupyterlab_is_served_to_this_machine_only_without_questions(course):
    lab.copy_notebooks(course)
    command = lab.jupyter_command(course, Path("python"), port=None, browser=True)
    assert "--ServerApp.ip=127.0.0.1" in command
    assert "--LabApp.default_url=/lab/tree/00_welcome.ipynb" in command
    [files] = [part.partition("=")[2] for part in command if "contents_manager_class" in part]
    assert files == f"{WorkingCopies.__module__}.{WorkingCopies.__qualname__}"
    assert not any("token" in part or "port" in part or "open_browser" in part for part in command)
    (course / "work" / "00_welcome.ipynb").unlink()
    assert "--LabApp.default_url=/lab" in lab.jupyter_command(course, Path("python"), port=None, browser=True)


def status_of(address: str) -> int:
    """The HTTP status of a page, redirections not followed."""

    class NoRedirect(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *arguments):
            return None

    opener = urllib.request.build_opener(NoRedirect, urllib.request.ProxyHandler({}))
    try:
        return opener.open(address, timeout=60).status
    except urllib.error.HTTPError as error:
        return error.code


def in_a_terminal(address: str, line: str, end: str) -> str:
    """What a new terminal of the JupyterLab at `address` shows after a line was typed, up to a text that ends it."""
    server, token = re.match(r"(http://[^/]+)/.*token=(\w+)", address).groups()
    post = urllib.request.Request(f"{server}/api/terminals?token={token}", method="POST")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(post, timeout=60) as answer:
        name = json.load(answer)["name"]

    async def talk() -> str:
        url = f"{server.replace('http', 'ws', 1)}/terminals/websocket/{name}?token={token}"
        terminal = await tornado.websocket.websocket_connect(url)
        await terminal.write_message(json.dumps(["stdin", line + "\r"]))
        shown = ""
        while end not in shown:
            kind, *text = json.loads(await terminal.read_message())
            shown += text[0] if kind == "stdout" else ""
        return shown

    return asyncio.run(asyncio.wait_for(talk(), 120))


@contextlib.contextmanager
def launched(program: str, said: Path, *arguments: str, **environment: str):
    """A process that runs a program in which ``lab`` is the launcher, as in a terminal of its own."""
    program = "import sys; sys.path.insert(0, sys.argv[1]); import lab\npython = lab.Path(sys.executable)\n" + program
    with open(said, "w") as output:
        launcher = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    try:
        yield launcher
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(launcher.pid, signal.SIGKILL)


def wait_for(pattern: str, said: Path, process: subprocess.Popen) -> re.Match:
    """What a process has printed that matches."""
    end = time.monotonic() + 180
    while not (match := re.search(pattern, said.read_text())) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    assert match, said.read_text()
    return match


@POSIX_ONLY
def test_jupyterlab_starts_behind_its_token_and_ends_with_ctrl_c(course, tmp_path):
    lab.copy_notebooks(course)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    lab.quiet_jupyterlab(tmp_path / "venv")
    folders = {"JUPYTER_CONFIG_PATH": str(tmp_path / "venv" / "etc" / "jupyter")}
    folders |= {f"JUPYTER_{kind}_DIR": str(tmp_path / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
    folders["IPYTHONDIR"] = str(tmp_path / "ipython")
    program = "lab.serve(lab.ROOT, python, port=int(sys.argv[2]), browser=False)"
    said = tmp_path / "said"
    with launched(program, said, str(course), str(port), **folders) as launcher:
        address = wait_for(r"http://127\.0\.0\.1:\S+", said, launcher)[0]
        page, token = address.split("?token=")
        assert page == f"http://127.0.0.1:{port}/lab/tree/00_welcome.ipynb"
        assert len(token) >= 40
        assert status_of(page) == 302  # to the page that asks for the token
        assert status_of(f"http://127.0.0.1:{port}/api/contents") == 403
        assert status_of(address) == 200
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=60) as answer:
            config = json.loads(re.search(r'jupyter-config-data"[^>]*>(.*?)</script>', answer.read().decode(), re.S)[1])
        assert "@jupyterlab/apputils-extension:announcements" in config["disabledExtensions"]
        assert status_of(f"http://127.0.0.1:{port}/api/contents/00_welcome.ipynb?token={token}") == 200
        where = shutil.which("llmlab", path=str(Path(sys.executable).parent))
        assert f"is {where}" in in_a_terminal(address, 'echo is "$(command -v llmlab)" do""ne', "done")
        os.killpg(launcher.pid, signal.SIGINT)  # what Ctrl-C sends: to the launcher and to JupyterLab
        assert launcher.wait(timeout=180) == 0
    output = said.read_text()
    assert "Traceback" not in output
    assert output.rstrip().endswith("JupyterLab has ended. Your notebooks are in work/.")
    lab.require_port(port)  # nothing is left behind


SERVER = """
lab.jupyter_command = lambda *_, **options: [sys.executable, "-c", sys.argv[2]]
lab.main = lambda arguments: lab.serve(lab.ROOT, python)
sys.exit(lab.run([]))
"""
SERVES = "import signal; print('serving', flush=True); signal.pause()"
HANGS = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); " + SERVES


@POSIX_ONLY
@pytest.mark.parametrize(("program", "number"), [(SERVES, signal.SIGTERM), (HANGS, signal.SIGINT)])
def test_a_launcher_that_is_told_to_end_ends_its_server(course, tmp_path, program, number):
    lab.copy_notebooks(course)
    said = tmp_path / "said"
    with launched(SERVER, said, str(course), program) as launcher:
        wait_for("serving", said, launcher)
        launcher.send_signal(number)
        assert launcher.wait(timeout=180) == 0
        assert said.read_text().endswith("JupyterLab has ended. Your notebooks are in work/.\n")
        with pytest.raises(ProcessLookupError):
            os.killpg(launcher.pid, 0)  # nobody is left


@POSIX_ONLY
def test_a_server_that_fails_is_said(course, tmp_path):
    lab.copy_notebooks(course)
    said = tmp_path / "said"
    with launched(SERVER, said, str(course), "exit(3)") as launcher:
        assert launcher.wait(timeout=180) == 1
        assert said.read_text().endswith("lab.py: JupyterLab ended with exit code 3: the lines above say why.\n")
