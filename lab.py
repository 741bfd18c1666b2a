#!/usr/bin/env python3
"""The launcher of the course. It needs nothing but Python itself.

    python3 lab.py                        set up what is missing, then open the welcome notebook in JupyterLab
    python3 lab.py --no-browser --port N  the same without opening a browser, on a port of your choice
    python3 lab.py test [arguments]       run every test, notebooks included; the arguments go to pytest
    python3 lab.py reset 05               give notebook 05 back as it was; your version stays beside it

The set-up is a virtual environment in ``.venv`` with the exact versions of ``environment.yml`` and the
package itself in editable form. It is made once, and again only when ``environment.yml``, ``pyproject.toml``,
the Python version or the course's folder changes. You work on copies in ``work/``: they are made when absent
and never overwritten.
"""

import argparse
import contextlib
import datetime
import errno
import hashlib
import json
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
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
GB = 1_000_000_000
STAMP = "llmlab-stamp"  # in .venv, written last: for what this environment is complete
BEGUN = "llmlab-installing"  # in .venv, left behind only by a set-up that was cut off

# How the tests run: two files at a time, one thread each; notebooks are tests too, with their outputs
# compared, their kernels' network off, and no cell longer than 150 s.
TEST_FLAGS = ["-n", "2", "--dist", "loadfile", "-p", "llmlab.notebooks.pytest_plugin"]
TEST_FLAGS += ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=150"]
TEST_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

USAGE = "python3 lab.py [--no-browser] [--port N] | test [pytest arguments] | reset NN"


class Problem(Exception):
    """What went wrong and what to do about it, in one line."""


# ------------------------------------------------------------------------------------ what is to be installed


def read_pip_list(text: str) -> list[str]:
    """Return the entries of the ``pip:`` list in the text of an environment.yml."""
    entries = []
    indent = None
    for line in text.splitlines():
        body = re.sub(r"(^|\s)#.*", "", line).rstrip()
        if not body:
            continue
        depth = len(body) - len(body.lstrip())
        if body.strip() == "- pip:":
            indent = depth
        elif indent is not None and depth <= indent:
            break
        elif indent is not None:
            entries.append(body.strip()[1:].strip().strip("'\""))
    if not entries:
        raise Problem("environment.yml has no list under `- pip:`: get the file from the course again.")
    return entries


def pinned_versions(entries: list[str]) -> dict[str, str]:
    """Return ``{name: version}`` for the entries of the form ``name==version``."""
    return dict(entry.split("==", 1) for entry in entries if "==" in entry and not entry.startswith("-"))


def fingerprint(root: Path, python_version: str) -> str:
    """Return a hash of all that decides what must be installed: two files, the Python version, the folder."""
    digest = hashlib.sha256()
    for part in ((root / "environment.yml").read_bytes(), (root / "pyproject.toml").read_bytes()):
        digest.update(hashlib.sha256(part).digest())
    digest.update(f"{python_version}\n{root}".encode())
    return digest.hexdigest()


def has_nvidia_gpu() -> bool:
    """Return whether this machine has NVIDIA's driver."""
    return bool(shutil.which("nvidia-smi")) or Path("/proc/driver/nvidia/version").exists()


def answers(url: str, seconds: float) -> bool:
    """Return whether ``url`` answers within ``seconds``, name look-up and a slow server included."""
    result = []

    def ask():
        with contextlib.suppress(Exception):
            request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "llmlab"})
            with urllib.request.urlopen(request, timeout=seconds) as response:
                result.append(response.status < 400)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(result and result[0])


def wants_cpu_index() -> bool:
    """Return whether a plain install of torch would bring gigabytes of CUDA that this machine cannot use."""
    return sys.platform.startswith("linux") and not has_nvidia_gpu()


# --------------------------------------------------------------------------------------------------- progress


class Progress:
    """Prints lines with the elapsed seconds; on a terminal, also a last line that is rewritten in place."""

    QUIET_SECONDS = 20  # without a terminal, a sign of life at least this often

    def __init__(self):
        self.started = self.printed = time.monotonic()
        self.on_terminal = sys.stdout.isatty()

    def _stamped(self, text: str) -> str:
        return f"[{time.monotonic() - self.started:4.0f} s] {text}"

    def line(self, text: str) -> None:
        """Print ``text`` for good."""
        self.clear()
        print(self._stamped(text), flush=True)
        self.printed = time.monotonic()

    def status(self, text: str) -> None:
        """Show ``text`` until something else is shown."""
        if self.on_terminal:
            width = shutil.get_terminal_size().columns - 1
            print("\r" + self._stamped(text)[:width].ljust(width), end="", flush=True)
        elif time.monotonic() - self.printed > self.QUIET_SECONDS:
            self.line(text)

    def clear(self) -> None:
        """Take the line shown by `status` away."""
        if self.on_terminal:
            print("\r" + " " * (shutil.get_terminal_size().columns - 1) + "\r", end="", flush=True)


def describe(line: str) -> "tuple[str, bool] | None":
    """Turn a line of pip's output into (what is going on, whether it is worth a line of its own), or None."""
    line = line.strip()
    match = re.match(r"Collecting ([\w.-]+)", line)
    if match:
        return f"finding {match[1]}", False
    match = re.match(r"(?:Downloading|Using cached|Processing) (\S+)(?: \(([\d.]+) ([kMG]B)\))?", line)
    if match:
        file = urllib.parse.unquote(match[1].rsplit("/", 1)[-1])
        name = " ".join(file.split("-")[:2]) if file.endswith(".whl") else file
        if match[2] is None:
            return f"reading {name}", False
        large = match[3] == "GB" or (match[3] == "MB" and float(match[2]) >= 5)
        return f"fetching {name} ({match[2]} {match[3]})", large
    if line.startswith("Installing collected packages:"):
        count = line.count(",") + 1
        return f"installing {count} package{'s' if count > 1 else ''}", True
    if "Retrying (" in line:
        return "the package index does not answer, trying again", True
    if line.startswith(("Building", "Preparing", "Getting requirements", "Installing build")):
        return "building the course's package", False
    return None


def explain(log: str) -> str:
    """Say in one line why pip failed, and what to do, from what it printed."""
    if re.search(r"No space left on device|Errno 28\b|not enough space|WinError 112", log):
        return "the disk is full: free about 3 GB (the temporary folder counts too) and start again"
    if "CERTIFICATE_VERIFY_FAILED" in log:
        return "the package index's certificate is not trusted: name yours with `pip config set global.cert`"
    if "DO NOT MATCH THE HASHES" in log:
        return "a download arrived damaged: run `python3 -m pip cache purge`, then start again"
    if "Long Path" in log:
        return r"the folder's path is too long for Windows: move the course to a short one such as C:\llmlab"
    if re.search(r"PermissionError|Permission denied|Access is denied|WinError (5|32)\b", log):
        return "a file in .venv is in use or not yours: close every JupyterLab of the course, then start again"
    if re.search(
        r"NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|Read timed out"
        r"|Max retries exceeded|Name or service not known|name resolution|getaddrinfo failed"
        r"|nodename nor servname|Network is unreachable|Connection (refused|reset)"
        r"|ProxyError|ConnectionError",
        log,
    ):
        return "the package index cannot be reached: check the network (and proxy), then start again"
    match = re.search(r"No matching distribution found for ([^\s(]+)", log)
    if match:
        version = "{}.{}".format(*sys.version_info[:2])
        return f"{match[1]} has no build for Python {version} here: start lab.py with Python 3.11 or 3.12"
    errors = [line.strip() for line in log.splitlines() if line.strip().lower().startswith("error")]
    lines = errors or [line.strip() for line in log.splitlines() if line.strip()] or ["pip said nothing"]
    return f"{lines[-1].rstrip('.')}: if starting again does not help, delete .venv and start once more"


# ------------------------------------------------------------------------------------ the virtual environment


def venv_python(venv: Path) -> Path:
    """Return where the Python of a virtual environment is."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


PROBE = """
import json, sys
from importlib import metadata
versions = {}
for name in sys.argv[1:]:
    try:
        versions[name] = metadata.version(name).split("+")[0]
    except Exception:
        versions[name] = None
print(json.dumps({"python": "%d.%d" % sys.version_info[:2], "versions": versions}))
"""


def probe(python: Path, names: list[str]) -> "dict | None":
    """Ask a Python for its version and the installed version of each name; None when it does not run."""
    try:
        done = subprocess.run(
            [str(python), "-I", "-c", PROBE, *names],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
        return json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


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


def make_venv(venv: Path) -> None:
    """Make a virtual environment with pip in place of whatever is at ``venv``."""
    if Path(sys.prefix).resolve() == venv.resolve():
        raise Problem("this Python is itself in the .venv that must be made anew: start lab.py with another Python.")
    try:
        if venv.is_symlink() or venv.is_file():
            venv.unlink()
        elif venv.exists():
            shutil.rmtree(venv)
    except OSError as error:
        raise Problem(f"cannot replace .venv ({error}): close what uses it, or delete it yourself.") from None
    venv.mkdir()
    (venv / BEGUN).touch()
    done = subprocess.run(
        [sys.executable, "-m", "venv", str(venv)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
    )
    if done.returncode != 0:
        if "ensurepip" in done.stdout or "No module named" in done.stdout:
            version = "{}.{}".format(*sys.version_info[:2])
            raise Problem(
                "this Python lacks its venv module: on Debian or Ubuntu run `sudo apt install "
                f"python{version}-venv`, elsewhere install Python from python.org; then start again."
            )
        raise Problem(f"cannot make .venv: {explain(done.stdout)}.")


def count_installed(venv: Path) -> int:
    """Return how many packages are in a virtual environment."""
    packages = "Lib/site-packages" if os.name == "nt" else "lib/python*/site-packages"
    return len(list(venv.glob(packages + "/*.dist-info")))


def pip_install(root: Path, requirements: list[str], progress: Progress) -> None:
    """Install the lines of a requirements file into ``.venv``; what pip says is kept in ``install.log``."""
    venv = root / ".venv"
    listed = venv / "requirements.txt"
    listed.write_text("\n".join(requirements) + "\n", encoding="utf8")
    command = [str(venv_python(venv)), "-m", "pip", "install", "--progress-bar", "off", "-r", str(listed)]
    # Settings that would send packages elsewhere, or make pip wait for an answer, are switched off.
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONHOME", "PIP_TARGET", "PIP_PREFIX")}
    environment.update(PIP_USER="0", PIP_NO_INPUT="1", PIP_DISABLE_PIP_VERSION_CHECK="1", PYTHONUNBUFFERED="1")
    pip = subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf8",
        errors="replace",
    )
    lines = queue.Queue()

    def read():
        for line in pip.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    doing, installing, log = "asking the package index", False, []
    try:
        with open(venv / "install.log", "w", encoding="utf8") as file:
            while True:
                try:
                    line = lines.get(timeout=1)
                except queue.Empty:
                    progress.status(f"{doing}: {count_installed(venv)} done" if installing else doing)
                    continue
                if line is None:
                    break
                file.write(line)
                file.flush()
                log.append(line)
                said = describe(line)
                if said and said[0] != doing:
                    doing, worth_a_line = said
                    installing = installing or doing.startswith("installing")
                    (progress.line if worth_a_line else progress.status)(doing)
        code = pip.wait()
    except BaseException:
        pip.terminate()
        pip.wait()
        raise
    finally:
        progress.clear()
    if code != 0:
        raise Problem(f"{explain(''.join(log))} (everything pip said: {venv / 'install.log'}).")
    progress.line("installed")


def quiet_jupyterlab(venv: Path) -> None:
    """Switch off JupyterLab's question about news and its look for updates, in this environment only."""
    settings = venv / "etc" / "jupyter" / "labconfig"
    settings.mkdir(parents=True, exist_ok=True)
    disabled = {"@jupyterlab/apputils-extension:announcements": True}
    write_atomically(settings / "page_config.json", json.dumps({"disabledExtensions": disabled}).encode())


def is_ready(root: Path, state: "dict | None", pins: dict[str, str]) -> bool:
    """Return whether what `probe` found in ``.venv`` is complete for this course as it is now."""
    if not state or any(state["versions"][name] != version for name, version in pins.items()):
        return False
    stamp = root / ".venv" / STAMP
    return stamp.is_file() and stamp.read_text() == fingerprint(root, state["python"])


def can_be_kept(venv: Path, state: "dict | None") -> bool:
    """Return whether pip can go on in ``.venv``: it runs, is new enough, has pip, and no set-up was cut off."""
    if not state or not state["versions"]["pip"] or (venv / BEGUN).exists():
        return False
    return tuple(map(int, state["python"].split("."))) >= MINIMUM_PYTHON


def set_up(root: Path, entries: list[str], *, keep: bool) -> None:
    """Install the entries into ``.venv``, made anew unless it is to be kept."""
    venv, cpu_only = root / ".venv", wants_cpu_index()
    with_cuda = sys.platform.startswith("linux") and not cpu_only
    needed = 1 if keep else 12 if with_cuda else 3
    require_space(root, needed, "free some, or move the course to a larger disk")
    require_space(Path(tempfile.gettempdir()), 1, "free some, or set TMPDIR to a folder on a larger disk")
    progress = Progress()
    if keep:
        progress.line("bringing .venv up to date")
    else:
        progress.line("repairing .venv" if venv.exists() else "making .venv: this takes minutes, once")
        make_venv(venv)
    # The options in the list (such as an index) are for conda and Binder; here the machine decides.
    requirements = [entry for entry in entries if not entry.startswith("--")]
    if cpu_only and answers(f"{CPU_INDEX}/torch/", CPU_INDEX_SECONDS):
        requirements.insert(0, f"--extra-index-url {CPU_INDEX}")
    elif cpu_only:
        progress.line(f"{CPU_INDEX} does not answer: going on with what pip is set up to find")
    (venv / STAMP).unlink(missing_ok=True)
    (venv / BEGUN).touch()
    try:
        pip_install(root, requirements, progress)
        quiet_jupyterlab(venv)
    except Problem:
        (venv / BEGUN).unlink()  # pip ended by itself and left the environment whole
        raise
    (venv / BEGUN).unlink()


def ensure_environment(root: Path = ROOT) -> Path:
    """Make ``.venv`` hold what the course needs, doing nothing when it does, and return its Python."""
    venv = root / ".venv"
    python = venv_python(venv)
    entries = read_pip_list((root / "environment.yml").read_text(encoding="utf8"))
    pins = pinned_versions(entries)
    names = ["pip", *pins]
    if is_ready(root, probe(python, names), pins):
        return python
    with only_one(root / ".venv.lock"):
        state = probe(python, names)
        if is_ready(root, state, pins):  # another lab.py finished meanwhile
            return python
        set_up(root, entries, keep=can_be_kept(venv, state))
        state = probe(python, names)
        if state:
            write_atomically(venv / STAMP, fingerprint(root, state["python"]).encode())
        if not is_ready(root, state, pins):
            raise Problem(f"pip ended well, but {venv} lacks listed versions: delete it and start again.")
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
    files = sorted(notebooks.glob("[0-9][0-9]_*.ipynb"))
    files += sorted(path for path in (notebooks / "assets").rglob("*") if path.is_file())
    return [path.relative_to(notebooks).as_posix() for path in files]


def copy_notebooks(root: Path = ROOT) -> list[str]:
    """Copy to ``work/`` what is not there, overwrite no notebook, return a line for each newer version.

    A picture that the learner has not changed follows the course's.
    """
    work = root / "work"
    try:
        work.mkdir(exist_ok=True)
    except FileExistsError:
        raise Problem(f"{work} is a file, but your notebooks belong there: rename it.") from None
    copies, newer = read_copies(work), []
    for name in course_files(root):
        source, copy = root / "notebooks" / name, work / name
        current = content_hash(source)
        is_notebook = name.endswith(".ipynb")
        untouched = copy.is_file() and not is_notebook and content_hash(copy) == copies.get(name)
        if untouched or not os.path.lexists(copy):
            copy.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(copy, source.read_bytes())
            copies[name] = current
        elif is_notebook and copies.setdefault(name, current) != current:
            newer.append(
                f"{name}: the course has a newer version; `python3 lab.py reset {name[:2]}` takes it and keeps yours."
            )
    write_atomically(work / ".copies.json", json.dumps(copies, indent=1).encode())
    return newer


def reset(number: str, root: Path = ROOT) -> str:
    """Put the course's version of a notebook into ``work/``, keep the old one under a new name, say so."""
    names = [name for name in course_files(root) if name.endswith(".ipynb")]
    match = re.match(r"(\d{1,2})(?!\d)", number)
    chosen = [name for name in names if match and int(name[:2]) == int(match[1])]
    if not chosen:
        raise Problem(f"there is no notebook {number!r}: reset takes one of {', '.join(name[:2] for name in names)}.")
    name = chosen[0]
    copy = root / "work" / name
    kept = None
    if os.path.lexists(copy):
        now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        kept = copy.with_name(f"{copy.stem}.old-{now}.ipynb")
        again = 1
        while os.path.lexists(kept):
            again += 1
            kept = copy.with_name(f"{copy.stem}.old-{now}-{again}.ipynb")
        copy.rename(kept)
    copies = read_copies(root / "work")
    if copies.pop(name, None):
        write_atomically(root / "work" / ".copies.json", json.dumps(copies, indent=1).encode())
    copy_notebooks(root)
    return f"work/{name} is as the course has it" + (f"; your version is work/{kept.name}." if kept else ".")


# ----------------------------------------------------------------------------------- JupyterLab and the tests


def require_port(port: int) -> None:
    """Raise a Problem when something listens on ``port`` of this machine."""
    with socket.socket() as trial:
        if os.name != "nt":  # there the option would let two servers share a port
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno == errno.EACCES:
                raise Problem(f"port {port} is not for ordinary users: choose one above 1023.") from None
            raise Problem(f"port {port} is in use: choose another, or leave --port out.") from None


def jupyter_command(root: Path, python: Path, *, port: "int | None", browser: bool) -> list[str]:
    """Return the command that serves ``work/`` to this machine only, behind a token."""
    work = root / "work"
    page = f"/lab/tree/{WELCOME}" if (work / WELCOME).is_file() else "/lab"
    command = [str(python), "-m", "jupyterlab", "--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={work}"]
    command += [f"--LabApp.default_url={page}"]
    command += ["--ServerApp.answer_yes=True"]  # Ctrl-C ends it without a question
    command += ["--ServerApp.log_level=WARN", "--LabApp.log_level=WARN"]
    if port is not None:
        command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    if not browser:
        command += ["--ServerApp.open_browser=False"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # in a container: Jupyter asks root to say so
        command += ["--ServerApp.allow_root=True"]
    return command


def serve(root: Path, python: Path, *, port: "int | None" = None, browser: bool = True) -> int:
    """Run JupyterLab until it ends or Ctrl-C ends it; return its exit code."""
    if port is not None:
        require_port(port)

    print("Starting JupyterLab on your copies in work/. Ctrl-C in this window ends it.", flush=True)
    server = subprocess.Popen(jupyter_command(root, python, port=port, browser=browser), cwd=root / "work")

    def stop(signum, frame):
        server.terminate()
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        while True:  # short waits: on Windows a long one would not see Ctrl-C
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = server.wait(timeout=1)
                break
    except KeyboardInterrupt:
        code = end(server)
    if code != 0:
        raise Problem(f"JupyterLab ended with exit code {code}: the lines above say why.")
    print("JupyterLab has ended. Your notebooks are in work/.", flush=True)
    return code


def end(server: subprocess.Popen) -> int:
    """Wait for a server that was asked to end, ask again, and end it by force when it does not; return 0."""
    for ask, seconds in ((lambda: None, 3), (server.terminate, 10), (server.kill, 10)):
        try:
            ask()
            server.wait(timeout=seconds)
            break
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            continue
    return 0


def pytest_command(python: Path, arguments: list[str]) -> list[str]:
    """Return the command that runs the tests; without a path, pyproject.toml names the folders."""
    return [str(python), "-m", "pytest", *TEST_FLAGS, *arguments]


def run_tests(root: Path, python: Path, arguments: list[str]) -> int:
    """Run the tests and return pytest's exit code."""
    environment = {**os.environ, **TEST_ENVIRONMENT}
    return subprocess.call(pytest_command(python, arguments), cwd=root, env=environment)


# ------------------------------------------------------------------------------------------- the command line


def port_number(text: str) -> int:
    """Return a port from the command line."""
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: expected a number from 1 to 65535")
    return int(text)


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
    parser.add_argument("--port", type=port_number, help="the port to serve on (default: the first free from 8888)")
    options = parser.parse_args(arguments)
    if options.port is not None:
        require_port(options.port)  # said before minutes of installing
    python = ensure_environment(ROOT)
    for line in copy_notebooks(ROOT):
        print(line)
    return serve(ROOT, python, port=options.port, browser=not options.no_browser)


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
