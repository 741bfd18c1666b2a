"""Functions as text: the stub and the solution that a learner sees, and what a docstring says about dimensions."""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import math
import re
import textwrap
from collections.abc import Callable
from typing import Any

import torch


def stub(function: Callable[..., Any], *, body_of: Callable[..., Any] | None = None) -> str:
    """The head of a function, its docstring, and `...`, or the body of another function."""
    text, tree = _text_and_tree(function)
    lines = text.splitlines()[: tree.body[0].end_lineno]  # the docstring is the first statement
    body = ["    ..."]
    if body_of is not None:
        other, other_tree = _text_and_tree(body_of)
        body = other.splitlines()[_first_line(other_tree) - 1 :]
    return "\n".join([*lines, *body]) + "\n"


def without_docstring(function: Callable[..., Any]) -> str:
    """A function as text, without decorators and docstring."""
    text, tree = _text_and_tree(function)
    lines = text.splitlines()
    head = lines[: tree.body[0].lineno - 1]
    return "\n".join([*head, *lines[_first_line(tree) - 1 :]]) + "\n"


def _first_line(tree: ast.FunctionDef) -> int:
    """The line on which the body begins after the docstring, comments before its first statement included."""
    return tree.body[0].end_lineno + 1 if ast.get_docstring(tree) is not None else tree.body[0].lineno


def _text_and_tree(function: Callable[..., Any]) -> tuple[str, ast.FunctionDef]:
    text = textwrap.dedent(inspect.getsource(function))
    tree = parse(text)
    text = "\n".join(text.splitlines()[tree.lineno - 1 :]) + "\n"  # a decorator's lines come before `def`
    return text, parse(text)


@functools.cache
def parse(source: str) -> ast.FunctionDef:
    """The first function that a source defines. Raises StopIteration where there is none."""
    return next(node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))


def tree_of(function: Any) -> ast.FunctionDef | None:
    """A function's definition as a tree, where Python knows its source."""
    try:
        return parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    except (OSError, TypeError, SyntaxError, StopIteration, ValueError):
        return None


def same_code(one: ast.FunctionDef, other: ast.FunctionDef) -> bool:
    """Whether two definitions have the same body, comments and docstrings aside."""

    def body(tree: ast.FunctionDef) -> list[str]:
        return [ast.dump(node) for node in tree.body if not (is_text(node) and node.value.value is not Ellipsis)]

    return body(one) == body(other)


def is_text(node: ast.stmt) -> bool:
    """Whether a statement is nothing but a constant: a docstring, or `...`."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def has_marks(tree: ast.AST) -> bool:
    """Whether `...` stands for something to write; in an index, `x[..., 0]`, it does not."""
    if isinstance(tree, ast.Constant):
        return tree.value is Ellipsis
    children = [tree.value] if isinstance(tree, ast.Subscript) else ast.iter_child_nodes(tree)
    return any(has_marks(child) for child in children)


def returns(function: Callable[..., Any]) -> bool:
    """Whether a function returns a value, rather than changing what it is given."""
    tree = tree_of(function)
    return tree is None or any(isinstance(node, ast.Return) and node.value for node in ast.walk(tree))


def takes_the_same(solution: Callable[..., Any], function: Callable[..., Any]) -> bool:
    """Whether a function can be called as the solution is: by position, and by name where the solution has a `*`."""
    parameters = inspect.signature(solution).parameters.values()
    by_name = {p.name: None for p in parameters if p.kind is p.KEYWORD_ONLY}
    try:
        inspect.signature(function).bind(*[None] * (len(parameters) - len(by_name)), **by_name)
    except TypeError:
        return False
    except ValueError:
        return True  # a function of C that does not tell
    return True


def define(source: str, label: str) -> Callable[..., Any]:
    """The function that a source defines, with its lines known to tracebacks. `torch`, `F` and `math` are there."""
    filename = f"<{label}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    namespace: dict[str, Any] = {"__name__": label, "torch": torch, "F": torch.nn.functional, "math": math}
    exec(compile(source, filename, "exec"), namespace)
    return next(value for name, value in namespace.items() if inspect.isfunction(value) and value.__module__ == label)


NAMED = re.compile(r"((?:\w+(?:, | and ))*\w+) \(([\w·.+ ,]+)\)")


def dimensions(function: Callable[..., Any]) -> dict[str, str]:
    """What a docstring calls the dimensions of its arguments: "q (H, d), keys and values (H, S, d)" gives three.

    What follows "->" is under the name "->".
    """
    taken, _, given = inspect.getdoc(function).partition("->")
    found = {}
    for names, dims in NAMED.findall(taken):
        found |= {name[0].lower() + name[1:]: dims.rstrip(",") for name in re.split(r", | and ", names)}
    if match := re.match(r"[\w ]*\(([\w·.+ ,]+)\)", given.strip()):
        found["->"] = match[1].rstrip(",")
    return found
