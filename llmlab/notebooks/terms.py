"""The course's words: which notebook explains each, whether one is used before that, and the glossary.

`notebooks/terms.toml` lists them. A table has the word as its name, `notebook` (the one that explains it), `means` (one
sentence) and, where the plural is not the word with an s, `forms` (all ways to write it). A word that is also
ordinary English is listed as a phrase: "attention head", not "head". The notebook that explains a word sets it in bold
where it does. Code, formulas and the targets of links are not searched.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode

from llmlab.notebooks.form import read

_NOT_PROSE = re.compile(r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$\n]*\$|<[^>]+>", re.DOTALL)
_TARGET = re.compile(r"\]\([^)]*\)")
_SENTENCE = re.compile(r"(?<=[.?!:])\s+|\n\s*\n|\n(?=[-*|#\d])")


@dataclass(frozen=True)
class Term:
    """A word: `notebook` (a file's stem) explains it, `means` is one sentence, `forms` are how it is written."""

    name: str
    notebook: str
    means: str
    forms: tuple[str, ...]

    @property
    def pattern(self) -> re.Pattern[str]:
        """Matches each form as whole words, in any case and over a line's end."""
        forms = sorted(self.forms, key=len, reverse=True)
        words = "|".join(r"\s+".join(map(re.escape, form.split())) for form in forms)
        return re.compile(rf"(?<![\w-])(?:{words})(?![\w-])", re.IGNORECASE)


def read_terms(path: Path) -> list[Term]:
    """The terms of a file, in its order.

    Raises ValueError naming the term that lacks something, has what nobody reads, or says more than one sentence.
    """
    terms = []
    for name, told in tomllib.loads(path.read_text(encoding="utf-8")).items():
        if not isinstance(told, dict) or not {"notebook", "means"} <= set(told) <= {"notebook", "means", "forms"}:
            raise ValueError(f"{path.name}: expected {name!r} to have notebook, means and perhaps forms, got {told}")
        if not re.fullmatch(r"[A-Z0-9][^\n]*\.", told["means"]) or re.search(r"[.?!]\s", told["means"]):
            raise ValueError(f"{path.name}: expected one sentence for {name!r}, got {told['means']!r}")
        terms.append(Term(name, told["notebook"], told["means"], tuple(told.get("forms", (name, f"{name}s")))))
    return terms


def sentences(source: str) -> list[str]:
    """The sentences of a Markdown cell, without code and formulas; links keep their targets."""
    return [part for part in _SENTENCE.split(_NOT_PROSE.sub(" ", source)) if part.strip()]


def used_too_early(paths: Sequence[Path], terms: Sequence[Term]) -> list[str]:
    """What is wrong with the words of the notebooks, given in reading order, one line each.

    A notebook before the one that explains a word may use it only in a sentence that links to that one, which should
    say what it means. The one that explains it uses it before the bold word only in headings and in its first cell.
    """
    order = {path.stem: number for number, path in enumerate(paths)}
    wrong = [f"{term.name}: no notebook {term.notebook}" for term in terms if term.notebook not in order]
    for path in paths:
        nb = read(path)
        for term in terms:
            if term.notebook == path.stem:
                wrong += _unexplained(nb, path, term)
            elif order.get(term.notebook, -1) > order[path.stem]:
                wrong += [
                    f"{path.stem}: {term.name} is explained in {term.notebook} only: {' '.join(sentence.split())[:120]}"
                    for _, sentence in _prose(nb)
                    if term.pattern.search(_TARGET.sub("]", sentence)) and f"]({term.notebook}" not in sentence
                ]
    return wrong


def _prose(nb: NotebookNode) -> Iterator[tuple[int, str]]:
    for number, cell in enumerate(nb.cells):
        if cell.cell_type == "markdown":
            yield from ((number, sentence) for sentence in sentences(cell.source))


def _unexplained(nb: NotebookNode, path: Path, term: Term) -> list[str]:
    bold = re.compile(rf"\*\*[^*]*?{term.pattern.pattern}[^*]*?\*\*", re.IGNORECASE)
    markdown = [(number, cell.source) for number, cell in enumerate(nb.cells) if cell.cell_type == "markdown"]
    explains = next((number for number, source in markdown if bold.search(source)), None)
    if explains is None:
        return [f"{path.stem}: expected it to explain **{term.name}** in bold"]
    return [
        f"{path.stem}: {term.name} is used before it is explained: {' '.join(sentence.split())[:120]}"
        for number, sentence in _prose(nb)
        if 0 < number < explains and not sentence.lstrip().startswith("#") and term.pattern.search(sentence)
    ]


def glossary(terms: Sequence[Term]) -> str:
    """The page of all words in alphabetical order, as Markdown."""
    lines = ["# Words of the course", "", "Made from `terms.toml`: `llmlab notebooks glossary` writes it again.", ""]
    lines += ["| word | what it means | explained in |", "| --- | --- | --- |"]
    for term in sorted(terms, key=lambda term: term.name.lower()):
        number = term.notebook.partition("_")[0]
        lines.append(f"| {term.name} | {term.means} | [{number}]({term.notebook}.ipynb) |")
    return "\n".join(lines) + "\n"
