#!/usr/bin/env python3
"""The launcher of the course. It needs nothing but Python itself.

    python3 lab.py                        set up what is missing, then open the welcome notebook in JupyterLab
    python3 lab.py --no-browser --port N  the same without opening a browser, on a port of your choice
    python3 lab.py test [arguments]       run every test, notebooks included; the arguments go to pytest
    python3 lab.py reset 05a              give notebook 05a back as it was; your version stays beside it

The set-up is a virtual environment in ``.venv`` with the exact versions of ``environment.yml`` and the
package itself in editable form. It is made once, and brought up to date only when ``environment.yml``,
``pyproject.toml``, an installed version or the course's folder changes. You work on copies in ``work/``: they
are made when absent and never overwritten.
"""

import argparse
import contextlib
import datetime
import difflib
import errno
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MINIMUM_PYTHON = (3, 11)


def python_problem(version):
    """Return one line that says that Python ``version`` is too old and what to do, or None if it will do."""
    if tuple(version[:2]) >= MINIMUM_PYTHON:
        return None
    advice = "install a newer one from https://www.python.org/downloads/ and start lab.py with it"
    for minor in (13, 12, 11, 14):
        newer = "python3." + str(minor)
        if shutil.which(newer) and subprocess.call([newer, "-c", ""], stderr=subprocess.DEVNULL) == 0:
            advice = newer + " is on this machine: start with `" + newer + " lab.py`"
            break
    found, needed = (".".join(str(part) for part in numbers[:2]) for numbers in (version, MINIMUM_PYTHON))
    return "Python " + found + " is too old, the course needs " + needed + " or newer: " + advice + "."


# Everything above, and the syntax of this whole file, is understood by Python 3.6, so that an old Python says
# what is wrong instead of failing on the first line it cannot read.
if sys.version_info < MINIMUM_PYTHON:
    sys.exit("lab.py: " + python_problem(sys.version_info))

ROOT = Path(__file__).resolve().parent
WELCOME = "00_welcome.ipynb"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CPU_INDEX_SECONDS = 3
SECONDS_TO_END = 5
GB = 1_000_000_000
# What an installation needs at most, in GB: beside the course, and in the temporary folder. Torch 2.13.0 and its needs,
# as a plain index has them for Linux on x86-64, are 29 wheels with CUDA's: 2.7 GB to fetch and 4.8 GB unpacked. The CPU
# build is 0.2 and 0.7 GB, all the rest 1.0 GB unpacked. pip holds what it fetches in that folder and in its cache.
ROOM, ROOM_WITH_CUDA, ROOM_TO_UPDATE = (3, 1), (12, 4), (1, 1)
STAMP = "llmlab-stamp"  # in .venv, written last: for what this environment is complete

# How the tests run: a file at a time on each of two workers, one thread each; notebooks are tests too, with
# their outputs compared, their kernels' network off, and no cell longer than 150 s.
TEST_FLAGS = ["-n", "2", "--dist", "loadfile", "-p", "llmlab.notebooks.pytest_plugin"]
TEST_FLAGS += ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=150", "--durations=30"]
TEST_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

USAGE = "python3 lab.py [--no-browser] [--port N] | test [pytest arguments] | reset NN"


class Problem(Exception):
    """What went wrong and what to do about it, in one line."""


# ------------------------------------------------------------------------------------ what is to be installed


def read_pip_list(text: str) -> list[str]:
    """Return the entries of the ``pip:`` list in the text of our environment.yml, where it comes last."""
    entries = re.findall(r"^ +- (.+?)(?: +#.*)?$", text.partition("- pip:\n")[2], re.MULTILINE)
    if not entries:
        raise Problem("environment.yml has no list under `- pip:`: get the file from the course again.")
    return entries


def pinned_versions(entries: list[str]) -> dict[str, str]:
    """Return ``{name: version}`` for the entries of the form ``name==version``."""
    return dict(entry.split("==", 1) for entry in entries if "==" in entry)


def fingerprint(root: Path) -> str:
    """Return a hash of what decides what must be installed: two files and the course's folder."""
    files = [(root / name).read_bytes() for name in ("environment.yml", "pyproject.toml")]
    return hashlib.sha256(b"\0".join([*files, os.fsencode(root)])).hexdigest()


def has_nvidia_gpu() -> bool:
    """Return whether this machine has NVIDIA's driver."""
    return bool(shutil.which("nvidia-smi")) or Path("/proc/driver/nvidia/version").exists()


def wants_cpu_index() -> bool:
    """Return whether a plain install of torch would bring gigabytes of CUDA that this machine cannot use."""
    return sys.platform.startswith("linux") and not has_nvidia_gpu()


def answers(url: str, seconds: float) -> bool:
    """Return whether ``url`` answers in time. Another process asks: looking a name up knows no time limit."""
    ask = (
        "import sys; from urllib.request import Request, urlopen; "
        "urlopen(Request(sys.argv[1], method='HEAD', headers={'User-Agent': 'llmlab'}))"
    )
    with contextlib.suppress(subprocess.TimeoutExpired):
        command = [sys.executable, "-c", ask, url]
        return subprocess.run(command, timeout=seconds, capture_output=True).returncode == 0
    return False


# What pip or venv says when it fails, what that means and what to do.
REASONS = {
    r"No space left on device|Errno 28\b|not enough space|WinError 112": (
        "the disk is full: free about 3 GB (the temporary folder counts too) and start again"
    ),
    r"CERTIFICATE_VERIFY_FAILED": (
        "the package index's certificate is not trusted: name yours with `pip config set global.cert`"
    ),
    r"DO NOT MATCH THE HASHES": ("a download arrived damaged: run `python3 -m pip cache purge`, then start again"),
    r"Long Path": (r"the folder's path is too long for Windows: move the course to a short one such as C:\llmlab"),
    r"PermissionError|Permission denied|Access is denied|WinError (5|32)\b": (
        "a file in .venv is in use or not yours: close every JupyterLab of the course, then start again"
    ),
    r"Retrying \(|Max retries exceeded|[Tt]imed out|ProxyError|ConnectionError|Connection (aborted|refused|reset)": (
        "the package index cannot be reached: check the network (and proxy), then start again"
    ),
    r"No matching distribution found for ([^\s(]+)": (
        "{} has no build for this Python here: start lab.py with Python 3.11 or 3.12"
    ),
    r"ensurepip is not available|No module named '?(venv|ensurepip)": (
        "this Python lacks its venv module: on Debian or Ubuntu run `sudo apt install python3-venv`, elsewhere "
        "install Python from python.org; then start again"
    ),
}


def explain(said: str) -> str:
    """Say in one line why an installation failed, and what to do, from what pip or venv said."""
    for pattern, reason in REASONS.items():
        match = re.search(pattern, said)
        if match:
            return reason.format(*match.groups())
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["pip said nothing"]
    errors = [line for line in lines if line.lower().startswith("error")]
    return f"{(errors or lines)[-1].rstrip('.')}: if starting again does not help, delete .venv and start once more"


# ------------------------------------------------------------------------------------ the virtual environment


def venv_python(venv: Path) -> Path:
    """Return where the Python of a virtual environment is."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def what_it_prints(python: Path, *arguments: str) -> "str | None":
    """Return what a Python prints, or None when it does not run to a good end."""
    command = [str(python), "-I", *arguments]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
        return done.stdout.strip() if done.returncode == 0 else None
    return None


PROBE = """
import sys
from importlib.metadata import version
print(*(version(name).split("+")[0] for name in sys.argv[1:]))
"""


def has_versions(python: Path, pins: dict[str, str]) -> bool:
    """Return whether a Python runs and has each package of ``{name: version}`` in that version."""
    return what_it_prints(python, "-c", PROBE, *pins) == " ".join(pins.values())


@contextlib.contextmanager
def only_one(path: Path):
    """Hold a lock on ``path``, which the system releases when this process ends, however it ends."""
    with open(path, "a+") as file:
        try:
            if os.name == "nt":
                import msvcrt

                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Problem("another lab.py is setting up .venv: wait until it is done, then start again.") from None
        yield


def require_space(folder: Path, gigabytes: float, advice: str) -> None:
    """Raise a Problem when less than ``gigabytes`` are free where ``folder`` is."""
    free = shutil.disk_usage(folder).free
    if free < gigabytes * GB:
        raise Problem(f"{free / GB:.1f} GB are free in {folder}, the set-up needs {gigabytes:g} GB: {advice}.")


def require_room(root: Path, room: "tuple[float, float]", otherwise: str = "") -> None:
    """Raise a Problem when the disk has no ``room``; ``otherwise`` says what else than freeing some may help."""
    for_root, for_temporary = room
    require_space(root, for_root, f"free some, or move the course to a larger disk{otherwise}")
    advice = f"free some, or set TMPDIR to a folder on a larger disk{otherwise}"
    require_space(Path(tempfile.gettempdir()), for_temporary, advice)


def finds_cpu_build(python: Path, version: str) -> bool:
    """Return whether pip, as it is set up here, finds torch's CPU build, which it takes before the one with CUDA."""
    found = what_it_prints(python, "-m", "pip", "index", "versions", "torch") or ""
    return version + "+cpu" in re.split(r"[\s,()]+", found)


def make_venv(venv: Path) -> None:
    """Make a virtual environment with pip in place of whatever is at ``venv``."""
    if Path(sys.prefix).resolve() == venv.resolve():
        raise Problem("this Python is itself in the .venv that must be made anew: start lab.py with another Python.")
    command = [sys.executable, "-m", "venv", "--clear", str(venv)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        raise Problem(f"cannot make .venv: {explain(done.stdout + done.stderr)}.")


def pip_install(root: Path, requirements: list[str]) -> None:
    """Install the lines of a requirements file into ``.venv``; pip shows its progress, and logs to ``install.log``."""
    venv = root / ".venv"
    listed, log = venv / "requirements.txt", venv / "install.log"
    listed.write_text("\n".join(requirements) + "\n", encoding="utf8")
    log.unlink(missing_ok=True)
    command = [str(venv_python(venv)), "-m", "pip", "install", "--log", str(log), "-r", str(listed)]
    # Settings that would send packages elsewhere, or make pip wait for an answer, are switched off.
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONHOME", "PIP_TARGET", "PIP_PREFIX")}
    environment.update(PIP_USER="0", PIP_NO_INPUT="1", PIP_DISABLE_PIP_VERSION_CHECK="1", PYTHONIOENCODING="utf8")
    said = []
    streams = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE, "encoding": "utf8", "errors": "replace"}
    with subprocess.Popen(command, cwd=root, env=environment, **streams) as pip:
        for line in pip.stderr:
            said.append(line)
            if "Retrying (" in line:
                print("The package index does not answer, trying again.", flush=True)
    if pip.returncode != 0:
        logged = log.read_text(encoding="utf8", errors="replace") if log.exists() else ""  # what its children said too
        raise Problem(f"{explain(logged + ''.join(said))} (everything pip said: {log}).")


def quiet_jupyterlab(venv: Path) -> None:
    """Switch off JupyterLab's question about news and its look for updates, in this environment only."""
    settings = venv / "etc" / "jupyter" / "labconfig"
    settings.mkdir(parents=True, exist_ok=True)
    disabled = {"@jupyterlab/apputils-extension:announcements": True}
    (settings / "page_config.json").write_text(json.dumps({"disabledExtensions": disabled}))


def set_up(root: Path, entries: list[str]) -> None:
    """Install the entries into ``.venv``, made anew unless an earlier set-up ended well there."""
    venv, pins, cpu_only = root / ".venv", pinned_versions(entries), wants_cpu_index()
    stamp, python = venv / STAMP, venv_python(venv)
    keep = stamp.is_file() and what_it_prints(python, "-m", "pip", "--version") is not None
    cpu_index = cpu_only and answers(f"{CPU_INDEX}/torch/", CPU_INDEX_SECONDS)
    # Without that index, torch comes as pip is set up to find it: on Linux, as a rule, with CUDA.
    torch = {name: version for name, version in pins.items() if name == "torch"}
    plain = sys.platform.startswith("linux") and not cpu_index and not has_versions(python, torch)
    require_room(root, ROOM_WITH_CUDA if plain and not cpu_only else ROOM_TO_UPDATE if keep else ROOM)
    stamp.unlink(missing_ok=True)  # a set-up that is cut off leaves none, so that the next start makes .venv anew
    if keep:
        print("Bringing .venv up to date.", flush=True)
    else:
        print(
            "Making .venv: this takes minutes, once. The last step, installing, says nothing for a while.", flush=True
        )
        make_venv(venv)
    if plain and cpu_only:
        print(f"{CPU_INDEX} does not answer: going on with what pip is set up to find.", flush=True)
        if not finds_cpu_build(python, pins["torch"]):
            print(
                "That is torch with CUDA, which this machine cannot use: it works, but about 3 GB are fetched and 6 GB "
                "stay on the disk. To avoid it, press Ctrl-C and start again when the index above answers.",
                flush=True,
            )
            require_room(root, ROOM_WITH_CUDA, f"; or start again when {CPU_INDEX} answers: 3 GB will do then")
    # The options in the list (such as an index) are for conda and Binder; here the machine decides.
    requirements = [entry for entry in entries if not entry.startswith("--")]
    if cpu_index:
        requirements.insert(0, f"--extra-index-url {CPU_INDEX}")
    pip_install(root, requirements)
    quiet_jupyterlab(venv)
    if not has_versions(python, pins):
        raise Problem(f"pip ended well, but {venv} lacks listed versions: delete it and start again.")
    stamp.write_text(fingerprint(root))


def ensure_environment(root: Path = ROOT) -> Path:
    """Make ``.venv`` hold what the course needs, doing nothing when it does, and return its Python."""
    python, stamp = venv_python(root / ".venv"), root / ".venv" / STAMP
    entries = read_pip_list((root / "environment.yml").read_text(encoding="utf8"))
    is_current = stamp.is_file() and stamp.read_text() == fingerprint(root)
    if not (is_current and has_versions(python, pinned_versions(entries))):
        with only_one(root / ".venv.lock"):
            set_up(root, entries)
    return python


# ----------------------------------------------------------------------------------------- the working copies


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(data)
    os.replace(temporary, path)


def content_hash(path: Path) -> str:
    """Return a hash of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_copies(work: Path) -> dict[str, str]:
    """Return ``{file: hash of the course's version when copied}``; a damaged record counts as empty."""
    try:
        copies = json.loads((work / ".copies.json").read_text(encoding="utf8"))
    except (OSError, ValueError):
        return {}
    return copies if isinstance(copies, dict) else {}


def course_files(root: Path) -> list[str]:
    """Return what a working copy holds: the notebooks and their assets, as paths below ``notebooks/``."""
    notebooks = root / "notebooks"
    files = sorted(path for path in notebooks.glob("*.ipynb") if re.match(r"\d\d[a-z]?_", path.name))
    files += sorted(path for path in (notebooks / "assets").rglob("*") if path.is_file())
    return [path.relative_to(notebooks).as_posix() for path in files]


def number_of(name: str) -> str:
    """Return the number of a notebook: ``05a`` of ``05a_attention_by_hand.ipynb``."""
    return name.partition("_")[0]


def copy_notebooks(root: Path = ROOT) -> list[str]:
    """Copy to ``work/`` what is not there, overwrite no notebook, return a line for each newer or older version.

    A picture that the learner has not changed follows the course's. A copy of a notebook that the course no longer has
    stays as it is.
    """
    work = root / "work"
    try:
        work.mkdir(exist_ok=True)
    except FileExistsError:
        raise Problem(f"{work} is a file, but your notebooks belong there: rename it.") from None
    copies, newer, names = read_copies(work), [], course_files(root)
    for name in names:
        source, copy = root / "notebooks" / name, work / name
        current = content_hash(source)
        is_notebook = name.endswith(".ipynb")
        untouched = copy.is_file() and not is_notebook and content_hash(copy) == copies.get(name)
        if untouched or not os.path.lexists(copy):
            copy.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(copy, source.read_bytes())
            copies[name] = current
        elif is_notebook and copies.setdefault(name, current) != current:
            number = number_of(name)
            advice = f"`python3 lab.py reset {number}` (in JupyterLab's terminal: `llmlab reset {number}`)"
            newer.append(f"{name}: the course has a newer version; {advice} takes it and keeps yours.")
    for name in sorted(set(copies) - set(names)):
        if (work / name).is_file() and name.endswith(".ipynb"):
            number = number_of(name)
            now = [other for other in names if re.fullmatch(number + "[a-z]?_.*", other)]
            instead = f"; the course now has {', '.join(now)}" if now else "; the course no longer has it"
            newer.append(f"{name}: of an older edition{instead}. Your copy stays as it is.")
    write_atomically(work / ".copies.json", json.dumps(copies, indent=1).encode())
    return newer


def reset(number: str, root: Path = ROOT) -> str:
    """Put the course's version of a notebook into ``work/``, keep the old one under a new name, say so.

    A tab of JupyterLab may show the old one, with changes that were never saved. JupyterLab asks before it saves over
    a file whose hash is not the one it knows; so the new copy never has the bytes of the old one.
    """
    notebooks = {number_of(name): name for name in course_files(root) if name.endswith(".ipynb")}
    wanted = number_of(number)
    name = notebooks.get(wanted) or notebooks.get("0" + wanted)
    if name is None:
        raise Problem(f"there is no notebook {number!r}: reset takes one of {', '.join(notebooks)}.")
    copy, kept = root / "work" / name, ""
    if os.path.lexists(copy):
        now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S-%f")
        old = copy.rename(copy.with_name(f"{copy.stem}.old-{now}.ipynb"))
        kept = f"; your version is work/{old.name}. If it is open in JupyterLab, close its tab and open it again"
    copy_notebooks(root)
    if kept and old.is_file() and old.read_bytes() == copy.read_bytes():
        write_atomically(copy, copy.read_bytes() + b"\n")
    return f"work/{name} is as the course has it{kept}."


# ----------------------------------------------------------------------------------- JupyterLab and the tests


def require_port(port: int) -> None:
    """Raise a Problem when JupyterLab could not listen on ``port`` of this machine."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except (OSError, OverflowError):
        advice = "choose a free one from 1024 to 65535, or leave --port out"
        raise Problem(f"port {port} is in use, or not for you to use: {advice}.") from None


def jupyter_command(root: Path, python: Path, *, port: "int | None", browser: bool) -> list[str]:
    """Return the command that serves ``work/`` to this machine only, behind a token."""
    work = root / "work"
    page = f"/lab/tree/{WELCOME}" if (work / WELCOME).is_file() else "/lab"
    command = [str(python), "-m", "jupyterlab", "--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={work}"]
    command += ["--ServerApp.contents_manager_class=llmlab.notebooks.serving.WorkingCopies"]  # tables for dead widgets
    command += [f"--LabApp.default_url={page}"]
    command += ["--ServerApp.answer_yes=True"]  # Ctrl-C ends it without a question
    command += ["--ServerApp.log_level=WARN", "--LabApp.log_level=WARN"]
    if os.name != "nt":  # without this a terminal is a login shell at times, and that may set the path anew
        command += [f"--ServerApp.terminado_settings=shell_command={shlex.quote(os.environ.get('SHELL') or 'sh')}"]
    if port is not None:
        command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    if not browser:
        command += ["--ServerApp.open_browser=False"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # in a container: Jupyter asks root to say so
        command += ["--ServerApp.allow_root=True"]
    return command


def serve(root: Path, python: Path, *, port: "int | None" = None, browser: bool = True) -> None:
    """Run JupyterLab until Ctrl-C ends it; raises a Problem when it ends by itself and badly."""
    print("Starting JupyterLab on your copies in work/. Ctrl-C in this window ends it.", flush=True)
    path = os.pathsep.join([str(python.parent), os.environ.get("PATH", os.defpath)])  # for `llmlab` in its terminals
    command = jupyter_command(root, python, port=port, browser=browser)
    server = subprocess.Popen(command, cwd=root / "work", env={**os.environ, "PATH": path})
    deadlines = []

    def end(number, frame):
        deadlines.append(time.monotonic() + SECONDS_TO_END)
        if number == signal.SIGTERM:  # Ctrl-C reaches JupyterLab without us
            server.terminate()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    while server.poll() is None:
        time.sleep(0.2)
        if deadlines and time.monotonic() > deadlines[0]:  # without a terminal it can wait for its threads for ever
            server.kill()
    if server.returncode != 0 and not deadlines:
        raise Problem(f"JupyterLab ended with exit code {server.returncode}: the lines above say why.")
    print("JupyterLab has ended. Your notebooks are in work/.", flush=True)


def pytest_command(python: Path, arguments: list[str]) -> list[str]:
    """Return the command that runs the tests; without a path, pyproject.toml names the folders."""
    return [str(python), "-m", "pytest", *TEST_FLAGS, *arguments]


def run_tests(root: Path, python: Path, arguments: list[str]) -> int:
    """Run the tests and return pytest's exit code."""
    environment = {**os.environ, **TEST_ENVIRONMENT}
    return subprocess.call(pytest_command(python, arguments), cwd=root, env=environment)


# ------------------------------------------------------------------------------------------- the command line


def main(arguments: list[str]) -> int:
    """Do what the command line says and return an exit code; raises Problem."""
    if arguments[:1] == ["test"]:
        return run_tests(ROOT, ensure_environment(ROOT), arguments[1:])
    if arguments[:1] == ["reset"]:
        resetting = argparse.ArgumentParser(prog="lab.py", usage=USAGE)
        resetting.add_argument("number", metavar="NN")
        print(reset(resetting.parse_args(arguments[1:]).number))
        return 0
    parser = argparse.ArgumentParser(
        prog="lab.py",
        usage=USAGE,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--no-browser", action="store_true", help="print the address instead of opening it")
    parser.add_argument("--port", type=int, help="the port to serve on (default: the first free from 8888)")
    known = ("test", "reset", "--no-browser", "--port", "--help")
    first = arguments[0].partition("=")[0] if arguments else ""
    meant = difflib.get_close_matches(first, known, 1)
    if meant and first not in known:
        parser.error(f"there is no {first}; did you mean {meant[0]}?")
    options = parser.parse_args(arguments)
    if options.port is not None:
        require_port(options.port)  # said before minutes of installing
    python = ensure_environment(ROOT)
    for line in copy_notebooks(ROOT):
        print(line)
    serve(ROOT, python, port=options.port, browser=not options.no_browser)
    return 0


def run(arguments: list[str]) -> int:
    """Run `main`; what goes wrong becomes one line on the error stream and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        return main(arguments)
    except Problem as problem:
        print(f"lab.py: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nlab.py: stopped. Start again to go on.", file=sys.stderr)
        return 130
    except OSError as error:
        advice = {
            errno.ENOSPC: "the disk is full: free some space and start again",
            errno.EACCES: "the course must be in a folder that you may write to: copy it to one of your own",
            errno.EROFS: "the course must be in a folder that can be written to: copy it to one of your own",
            errno.ENOENT: "a file of the course is missing: get the course again",
        }.get(error.errno, "mend that and start again")
        print(f"lab.py: {error}: {advice}.", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
