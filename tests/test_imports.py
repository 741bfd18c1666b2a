"""The package's floors: each module imports from lower floors only, and torch waits until it is needed."""

import ast
import subprocess
import sys

FLOORS = [
    {"tap", "norms", "rope", "linear", "tokenizer_files"},
    {"tokenization", "attention", "ffn", "kv_cache"},
    {"transformer"},
    {"trace", "costs", "published", "sampling", "checkpoint", "decoding"},
    {"generate", "heads", "patching"},
    {"world"},
    {"training"},
    {"model_card"},
    {"plots"},
    {"widgets"},
    {"exercises"},
    {"offline", "notebooks", "bench", "cli", "__main__"},
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
SAME_FLOOR = {("notebooks", "offline"), ("cli", "bench")}
SAME_FLOOR |= {("cli", "notebooks"), ("__main__", "cli"), ("attention", "kv_cache"), ("ffn", "kv_cache")}


def imported(path, package):
    """The names directly below `llmlab` that a file imports when it runs; imports for type checkers do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = ["llmlab", *path.relative_to(package).parts[:-1]]
                base = ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])
            yield from ([f"{base}.{alias.name}" for alias in node.names] if base == "llmlab" else [base])
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_imports_go_down_only(repo):
    package, wrong = repo / "llmlab", []
    for path in sorted(package.rglob("*.py")):
        own = path.relative_to(package).parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        assert own in FLOOR, f"{own} stands on no floor yet: add it to FLOORS"
        for name in imported(path, package):
            parts = name.split(".")
            if parts[0] != "llmlab" or len(parts) == 1 or parts[1] in (own, "load_model", "data_path", "__version__"):
                continue
            if FLOOR[parts[1]] >= FLOOR[own] and (own, parts[1]) not in SAME_FLOOR:
                wrong.append(f"{own} imports {parts[1]}")
    assert wrong == []


def test_below_the_plots_nothing_knows_of_pictures_or_notebooks(repo):
    names = [name for floor in FLOORS[: FLOOR["plots"]] for name in floor]
    forbidden = {"matplotlib", "IPython", "ipywidgets", "anywidget"}
    for path in sorted((repo / "llmlab").rglob("*.py")):
        if path.relative_to(repo / "llmlab").parts[0].removesuffix(".py") in names:
            assert not forbidden & {name.split(".")[0] for name in imported(path, repo / "llmlab")}, path


def test_importing_the_package_leaves_torch_alone():
    code = "import llmlab, sys; print(sorted({'torch', 'numpy', 'matplotlib', 'IPython'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
