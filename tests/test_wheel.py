"""The built wheel works on its own in a clean environment; an editable install is a path to this folder."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROMPT = "Once upon a time"


def clean_environment() -> dict[str, str]:
    """This process's environment without what would lead Python back to this folder."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}


def run(command: list, cwd: Path) -> str:
    """Run a command and return what it printed."""
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=clean_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class CleanVenv:
    """A virtual environment with nothing of ours in it, that can see the packages we depend on."""

    def __init__(self, folder: Path):
        run([sys.executable, "-m", "venv", "--without-pip", folder], cwd=folder.parent)
        self.folder = folder
        self.scripts = folder / ("Scripts" if os.name == "nt" else "bin")
        self.python = self.scripts / ("python.exe" if os.name == "nt" else "python")
        variables = {"base": folder, "platbase": folder}
        packages = sysconfig.get_path("purelib", "venv", vars={name: str(path) for name, path in variables.items()})
        # A folder named in a .pth file is searched, but the .pth files inside it are not read: an editable
        # install in the environment that runs this test stays out of sight.
        dependencies = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        (Path(packages) / "dependencies.pth").write_text("\n".join(sorted(dependencies)) + "\n")

    def install(self, *what: str | Path) -> None:
        run([sys.executable, "-m", "pip", "--python", self.python, "install", "--no-deps", *what], cwd=ROOT)

    def where_is_llmlab(self, cwd: Path) -> Path:
        return Path(run([self.python, "-c", "import llmlab; print(llmlab.__file__)"], cwd=cwd).strip()).resolve()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "pip", "wheel", ROOT, "--no-deps", "--wheel-dir", folder], cwd=folder)
    [wheel] = folder.glob("*.whl")
    return wheel


def files_below(folder: Path) -> set[str]:
    """The files below a folder, as they stand in the wheel."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    made_by_tools = ("__pycache__", ".ipynb_checkpoints", ".DS_Store")
    return {path.as_posix() for path in paths if not any(part in made_by_tools for part in path.parts)}


def test_the_wheel_holds_the_package_and_the_data_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    content = {name for name in names if ".dist-info/" not in name}
    package = {f"llmlab/{name}" for name in files_below(ROOT / "llmlab")}
    data = {f"llmlab/data/{name}" for name in files_below(ROOT / "data")}
    assert content == package | data
    assert any(name.endswith(".safetensors") for name in data), "the wheel has no model"
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_the_wheel_is_small_enough_to_install_from_an_address(wheel):
    assert wheel.stat().st_size < 25_000_000


def test_an_installed_wheel_generates_text_on_its_own(wheel, tmp_path):
    venv = CleanVenv(tmp_path / "venv")
    venv.install(wheel)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert venv.where_is_llmlab(elsewhere).is_relative_to(venv.folder.resolve())
    command = [venv.scripts / "llmlab", "generate", PROMPT, "--max-new-tokens", "8", "--temperature", "0"]
    said = run(command, cwd=elsewhere)
    continuation = said.strip().removeprefix(PROMPT).strip()
    assert len(continuation.split()) >= 2, said
    assert run([venv.python, "-m", "llmlab", *command[1:]], cwd=elsewhere) == said


def test_an_editable_install_is_a_path_to_this_folder(tmp_path):
    venv = CleanVenv(tmp_path / "venv")
    venv.install("--editable", ROOT)
    assert venv.where_is_llmlab(tmp_path) == ROOT / "llmlab" / "__init__.py"
    assert not list(venv.folder.rglob("data"))  # no second copy of the data that could grow old
