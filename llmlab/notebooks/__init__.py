"""The notebooks' own command: `llmlab notebooks run [FILES]`, `check [FILES]`, `export [FILES]` and `glossary`.

`run` executes each notebook from top to bottom in a fresh kernel with the network off and one thread, brings
it into its one normal form and writes it; run again, nothing changes. `check` runs nothing: it names every
notebook that is stale, unexecuted or not in normal form. Without FILES both take all notebooks of the course.
Whether the outputs are still what the code gives is for the tests to say: nbval executes every notebook.

`check --other-machines` runs the notebooks as other processors would, with one thing changed at a time (four runs of
each), and prints where the outputs differ; `check --all-machines` takes every combination (twelve runs of each).
Neither writes anything.

`export` makes pages of notebooks, or slides (`--slides`), that need nothing but their file: no network, no kernel.

`glossary` writes `glossary.md` from `terms.toml`, the list of the course's words.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from llmlab.notebooks.checking import check_file
from llmlab.notebooks.form import as_text, normalize, read
from llmlab.notebooks.terms import glossary, read_terms

__all__ = ["as_text", "check_file", "main", "normalize", "notebooks_folder", "read"]

PACKAGE = Path(__file__).resolve().parents[1]


def notebooks_folder(start: Path | None = None) -> Path:
    """The course's `notebooks/`: in the checkout around `start` (default: this folder), or the package's."""
    start = (start or Path.cwd()).resolve()
    for root in (start, *start.parents, PACKAGE.parent):
        if (root / "notebooks").is_dir() and (root / "llmlab" / "__init__.py").is_file():
            return root / "notebooks"
    raise FileNotFoundError(
        f"expected a folder notebooks/ beside llmlab/, found none in {start}, above it or beside the "
        "package: name the notebooks, or change into the course's folder"
    )


def _select(names: Sequence[str]) -> list[Path]:
    """The notebooks that `names` (files and folders) mean; an empty `names` means the course's."""
    selected: list[Path] = []
    for path in [Path(name) for name in names] or [notebooks_folder()]:
        if path.is_dir():
            selected += sorted(p for p in path.glob("*.ipynb") if not p.name.startswith("."))
        elif path.is_file() and path.suffix == ".ipynb":
            selected.append(path)
        else:
            raise FileNotFoundError(f"expected a notebook (.ipynb) or a folder, got {path}")
    if not selected:
        raise FileNotFoundError(f"found no notebooks in {', '.join(names) or notebooks_folder()}")
    return selected


def _run(paths: Sequence[Path], *, timeout: float) -> int:
    from llmlab.notebooks.running import RunError, run_file  # starts Jupyter's machinery: only when needed

    failed = []
    for number, path in enumerate(paths, 1):
        print(f"{number}/{len(paths)} {path.name:<28}", end=" ", flush=True)
        try:
            print(run_file(path, timeout=timeout).line(), flush=True)
        except (RunError, ValueError, OSError) as error:
            failed.append(path)
            print("FAILED, left as it was", flush=True)
            print(f"\n{error}\n", file=sys.stderr, flush=True)
    if failed:
        print(f"{len(failed)} of {len(paths)} failed: {', '.join(p.name for p in failed)}", file=sys.stderr)
    return 1 if failed else 0


def _check(paths: Sequence[Path]) -> int:
    problems = {path: check_file(path) for path in paths}
    for path, found in problems.items():
        for problem in found:
            print(f"{path}: {problem}")
    bad = [str(path) for path, found in problems.items() if found]
    if not bad:
        print(f"{len(paths)} notebook{'s are' if len(paths) > 1 else ' is'} executed, normalized and current")
        return 0
    print(f"{len(bad)} of {len(paths)} not in order. This updates them: llmlab notebooks run {' '.join(bad)}")
    return 1


def _export(paths: Sequence[Path], folder: Path, *, slides: bool) -> int:
    from llmlab.notebooks.exporting import export_file  # imports nbconvert: only when needed

    if not folder.is_dir():
        raise FileNotFoundError(f"expected a folder to write into, got {folder}")
    for path in paths:
        print(export_file(path, folder, slides=slides), flush=True)
    return 0


def _write_glossary(folder: Path) -> int:
    terms = read_terms(folder / "terms.toml")
    (folder / "glossary.md").write_text(glossary(terms), encoding="utf-8")
    print(f"{folder / 'glossary.md'}: {len(terms)} words")
    return 0


def _check_machines(paths: Sequence[Path], *, every_combination: bool, timeout: float) -> int:
    from llmlab.notebooks import machines

    chosen = machines.all_machines() if every_combination else machines.single_changes()
    different = machines.check_machines(paths, chosen, timeout=timeout)
    print(f"{different} of {len(paths) * len(chosen)} runs differ" if different else "the same on all of them")
    return 1 if different else 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns the exit code: 0 all is well, 1 a notebook is not, 2 it was called wrongly."""
    parser = argparse.ArgumentParser(
        prog="llmlab notebooks", description="run the notebooks, or check how they are kept"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="execute in a fresh kernel, normalize, write")
    check = commands.add_parser("check", help="name what is stale, unexecuted or not normalized")
    commands.add_parser("glossary", help="write glossary.md from terms.toml")
    export = commands.add_parser("export", help="make pages, or slides, that need nothing but their file")
    export.add_argument("--slides", action="store_true", help="slides, along the course's path")
    export.add_argument("--to", type=Path, default=Path(), metavar="FOLDER", help="where to (default: this folder)")
    where = check.add_mutually_exclusive_group()
    where.add_argument(
        "--other-machines",
        action="store_true",
        help="run them with one thing changed at a time: vectors, library path, threads",
    )
    where.add_argument("--all-machines", action="store_true", help="run them with every combination of these")
    for command, limit in ((run, 150), (check, 600)):
        command.add_argument(
            "--timeout", type=float, default=limit, metavar="S", help=f"limit for one cell in seconds ({limit})"
        )
    for command in (run, check, export):
        command.add_argument(
            "files", nargs="*", metavar="FILE", help="notebooks or folders (default: the whole course)"
        )
    arguments = parser.parse_args(argv)
    try:
        if arguments.command == "glossary":
            return _write_glossary(notebooks_folder())
        paths = _select(arguments.files)
        if arguments.command == "export":
            return _export(paths, arguments.to, slides=arguments.slides)
        if arguments.command == "run":
            return _run(paths, timeout=arguments.timeout)
        if arguments.other_machines or arguments.all_machines:
            return _check_machines(paths, every_combination=arguments.all_machines, timeout=arguments.timeout)
        return _check(paths)
    except FileNotFoundError as error:
        print(f"llmlab notebooks: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the notebook that was running is as it was", file=sys.stderr)
        return 130
