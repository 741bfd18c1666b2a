"""The package's floors: each module imports from lower floors only, and torch waits until it is needed."""

import ast
import subprocess
import sys

FLOORS = [
    {"config", "tap", "tokenizer_files", "embeddings", "gradients"},
    {"norms", "rope", "positions", "linear", "masks"},
    {"tokenization", "attention", "ffn", "kv_cache"},
    {"gqa"},
    {"transformer"},
    {"trace", "costs", "sampling", "checkpoint", "decoding", "converting"},
    {"generate", "heads", "patching", "published", "units"},
    {"world"},
    {"editing", "forgetting", "repetition"},
    {"training"},
    {"model_card", "quantization"},
    {"plots"},
    {"studies"},
    {"widgets"},
    {"exercises"},
    {"offline", "notebooks", "bench", "cli", "__main__"},
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
# What `llmlab` itself offers.
TOP = ("load_model", "load_gpt2_tokenizer", "data_path", "__version__")
SAME_FLOOR = {("notebooks", "offline"), ("cli", "bench"), ("cli", "notebooks"), ("__main__", "cli")}


def imported(path, package):
    """The full names that a file imports, anywhere in it; imports for type checkers count too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = ["llmlab", *path.relative_to(package).parts[:-1]]
                base = ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def module_name(path, package):
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def circles(graph):
    """The circles of a graph {name: set of names}, each once, found by following every arrow in depth."""
    found, done = set(), set()

    def follow(name, way):
        if name in way:
            found.add(frozenset(way[way.index(name) :]))
        elif name not in done:
            for other in sorted(graph[name]):
                follow(other, [*way, name])
            done.add(name)

    for name in sorted(graph):
        follow(name, [])
    return sorted(map(sorted, found))


def test_circles_are_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}, "f": {"a"}}
    assert circles(graph) == [["a", "b", "c"], ["d", "e"]]


def test_no_two_files_import_each_other_in_a_circle(repo):
    package = repo / "llmlab"
    files = {module_name(path, package): path for path in sorted(package.rglob("*.py")) if path.name != "__init__.py"}
    graph = {name: set(imported(path, package)) & set(files) - {name} for name, path in files.items()}
    assert circles(graph) == []


def test_imports_go_down_only(repo):
    package, wrong = repo / "llmlab", []
    for path in sorted(package.rglob("*.py")):
        own = path.relative_to(package).parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        assert own in FLOOR, f"{own} stands on no floor yet: add it to FLOORS"
        for name in imported(path, package):
            parts = name.split(".")
            if parts[0] != "llmlab" or len(parts) == 1 or parts[1] in (own, *TOP):
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
