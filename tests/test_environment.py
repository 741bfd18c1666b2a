"""The lists of versions agree with each other and with the code, and the repository's style is clean."""

import ast
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT_TEXT = (ROOT / "pyproject.toml").read_text(encoding="utf8")
PROJECT = tomllib.loads(PYPROJECT_TEXT)["project"]
ENVIRONMENT_TEXT = (ROOT / "environment.yml").read_text(encoding="utf8")
ENVIRONMENT = yaml.safe_load(ENVIRONMENT_TEXT)

spec = importlib.util.spec_from_file_location("lab", ROOT / "lab.py")
lab = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lab)

PINS = lab.pinned_versions(lab.read_pip_list(ENVIRONMENT_TEXT))
REQUIREMENTS = [Requirement(line) for line in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]]

# What the code may import though it has no line of its own: {module: (package, who always brings it)}.
BROUGHT_ALONG = {
    "IPython": ("ipython", "ipykernel"),
    "jupyter_client": ("jupyter-client", "ipykernel"),
    "jupyter_core": ("jupyter-core", "ipykernel"),
    "jupyter_server": ("jupyter-server", "jupyterlab"),
    "packaging": ("packaging", "ipykernel"),
    "psutil": ("psutil", "ipython"),
    "tornado": ("tornado", "jupyterlab"),
    "traitlets": ("traitlets", "ipykernel"),
    "yaml": ("pyyaml", "huggingface-hub"),
}
MODULE_OF = {
    "pytest-xdist": "xdist",
    "huggingface-hub": "huggingface_hub",
    "axe-playwright-python": "axe_playwright_python",
}


def test_the_launcher_reads_the_list_as_yaml_does():
    [pip_list] = [entry["pip"] for entry in ENVIRONMENT["dependencies"] if isinstance(entry, dict)]
    assert lab.read_pip_list(ENVIRONMENT_TEXT) == pip_list


def test_comments_and_empty_lines_in_the_list_are_no_entries():
    text = "dependencies:\n  - pip:\n    - a==1 # why\n    # - b==2\n\n    - c @ https://example.org/#egg\n    - -e .\n"
    assert lab.read_pip_list(text) == ["a==1", "c @ https://example.org/#egg", "-e ."]
    [pip_list] = [entry["pip"] for entry in yaml.safe_load(text)["dependencies"]]
    assert pip_list == lab.read_pip_list(text)


def test_a_list_without_entries_is_refused():
    with pytest.raises(lab.Problem, match="no list under"):
        lab.read_pip_list("dependencies:\n  - pip\n")


def test_every_dependency_has_one_exact_version_and_every_version_a_dependency():
    names = [canonicalize_name(requirement.name) for requirement in REQUIREMENTS]
    assert len(set(names)) == len(names)
    assert sorted(names) == sorted(map(canonicalize_name, PINS))


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_the_exact_version_lies_in_the_range(requirement):
    assert requirement.specifier, f"{requirement.name} has no range"
    assert requirement.specifier.contains(PINS[requirement.name])


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_every_dependency_says_what_it_is_for(requirement):
    [line] = re.findall(rf'^ +"{requirement.name}[><=~].*$', PYPROJECT_TEXT, re.MULTILINE)
    assert re.search(r'",\s+# \w.{10,}', line), line


@pytest.mark.parametrize("name", PINS)
def test_the_tests_run_on_the_exact_versions(name):
    assert importlib.metadata.version(name).split("+")[0] == PINS[name]


def test_conda_and_binder_get_the_package_and_the_cpu_build():
    entries = lab.read_pip_list(ENVIRONMENT_TEXT)
    assert f"--extra-index-url {lab.CPU_INDEX}" in entries
    assert "-e ." in entries


def test_the_least_python_is_the_same_everywhere():
    least = ".".join(map(str, lab.MINIMUM_PYTHON))
    assert PROJECT["requires-python"] == f">={least}"
    assert f"python={least}" in ENVIRONMENT["dependencies"]
    assert f"Python {least} or newer" in (ROOT / "README.md").read_text(encoding="utf8")


def test_the_readme_and_ci_run_the_same_test_command():
    command = "python3 lab.py test"
    assert command in (ROOT / "README.md").read_text(encoding="utf8")
    assert (ROOT / ".ci" / "run").read_text(encoding="utf8").splitlines()[-1] == command


def test_the_folders_that_pytest_reads_are_there():
    options = tomllib.loads(PYPROJECT_TEXT)["tool"]["pytest"]["ini_options"]
    assert options["testpaths"] == ["tests", "notebooks"]
    assert not any("-n" in option for option in options["addopts"])  # how many at a time is said in lab.py


def imported_modules(source: str) -> set[str]:
    """The top-level names of what a program imports."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def code_of_notebook(path: Path) -> str:
    """The Python lines of a notebook's code cells, without magics."""
    cells = nbformat.read(path, as_version=4).cells
    lines = [line for cell in cells if cell.cell_type == "code" for line in (cell.source + "\n").splitlines()]
    return "\n".join(line if line.lstrip()[:1] not in ("%", "!", "?") else "" for line in lines)


def undeclared(names: set[str], requirements: list[Requirement]) -> set[str]:
    """Which of the imported names no requirement accounts for."""
    listed = {requirement.name for requirement in requirements}
    modules = {MODULE_OF.get(name, name) for name in listed}
    brought = {module for module, (_, owner) in BROUGHT_ALONG.items() if owner in listed | {"ipython"}}
    here = {path.stem for path in (ROOT / "tests").rglob("*.py")} | {"lab", "llmlab", "tests"}
    return names - modules - brought - here - set(sys.stdlib_module_names)


def test_the_package_and_the_notebooks_import_only_what_an_installation_brings():
    run = [Requirement(line) for line in PROJECT["dependencies"]]
    for path in sorted((ROOT / "llmlab").rglob("*.py")):
        for_developers = path.is_relative_to(ROOT / "llmlab" / "bench") or path.name == "pytest_plugin.py"
        listed = REQUIREMENTS if for_developers else run
        assert not undeclared(imported_modules(path.read_text(encoding="utf8")), listed), path
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        assert not undeclared(imported_modules(code_of_notebook(path)), run), path


def test_the_tests_import_only_what_is_listed():
    for path in sorted((ROOT / "tests").rglob("*.py")):
        assert not undeclared(imported_modules(path.read_text(encoding="utf8")), REQUIREMENTS), path


@pytest.mark.parametrize(("package", "owner"), BROUGHT_ALONG.values())
def test_what_is_brought_along_is_required_by_its_owner(package, owner):
    required = [Requirement(line) for line in importlib.metadata.requires(owner)]
    here = [r for r in required if r.marker is None or r.marker.evaluate({"extra": ""})]
    assert package in {canonicalize_name(requirement.name) for requirement in here}


def test_an_undeclared_import_would_be_seen():
    assert undeclared(imported_modules("import os, pandas.io\nfrom scipy import stats"), REQUIREMENTS) == {
        "pandas",
        "scipy",
    }


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=["mistakes", "format"])
def test_the_style_of_the_whole_repository_is_clean(command):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "--no-cache", "."], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
