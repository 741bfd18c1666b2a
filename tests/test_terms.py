"""No word of the course before its meaning: what the test of words refuses, and the notebooks as they are."""

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from llmlab.notebooks import main
from llmlab.notebooks.terms import Term, glossary, read_terms, sentences, used_too_early

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
COURSE = sorted(NOTEBOOKS.glob("*.ipynb"))
TERMS = read_terms(NOTEBOOKS / "terms.toml")


def test_no_notebook_uses_a_word_before_it_is_explained():
    assert used_too_early(COURSE, TERMS) == []


def test_there_are_the_words_that_the_chapters_need():
    words = {term.name for term in TERMS}
    assert words >= {
        "token",
        "loss",
        "nat",
        "gradient",
        "attention head",
        "kv head",
        "causal mask",
        "encoder",
        "decoder",
    }
    assert len(TERMS) >= 40 and len(words) == len(TERMS)
    explained = {term.notebook for term in TERMS}
    assert explained == {path.stem for path in COURSE}  # each sitting explains something


def test_the_glossary_is_made_from_the_list():
    assert (NOTEBOOKS / "glossary.md").read_text(encoding="utf-8") == glossary(TERMS)


def course(tmp_path, **cells):
    paths = []
    for name, sources in cells.items():
        paths.append(tmp_path / f"{name}.ipynb")
        made = [new_code_cell(s[3:]) if s.startswith(">>>") else new_markdown_cell(s) for s in sources]
        nbformat.write(new_notebook(cells=made), paths[-1])
    return paths


LOGIT = Term("logit", "02_second", "A number.", ("logit", "logits"))


@pytest.mark.parametrize(
    "early",
    ["A logit is used here.", "We see\nLogits.", "Fine.\n\n- the logits", "[a logit](03_third.ipynb)", "*Logits*"],
)
def test_a_word_before_its_notebook_is_refused(tmp_path, early):
    paths = course(tmp_path, **{"01_first": ["# One", early], "02_second": ["# Two", "A **logit** is a number."]})
    [said] = used_too_early(paths, [LOGIT])
    assert said.startswith("01_first: logit is explained in 02_second only")


@pytest.mark.parametrize(
    "early",
    [
        "`logit` is code, and so is\n```\nlogit\n```",
        "A formula: $logit$.",
        "[A later chapter](02_logit.ipynb)",
        "Logarithms, logitech and non-logit words.",
        "It ends as a logit, a number for each word ([next](02_second.ipynb)).",
        ">>> logit = 3  # a logit",
    ],
)
def test_code_formulas_links_and_sentences_that_link_ahead_are_not(tmp_path, early):
    paths = course(tmp_path, **{"01_first": ["# One", early], "02_second": ["# Two", "A **logit** is a number."]})
    assert used_too_early(paths, [LOGIT]) == []


def test_in_its_own_notebook_a_word_is_explained_before_it_is_used(tmp_path):
    paths = course(
        tmp_path, **{"02_second": ["# After it you know logits", "## Logits", "A logit.", "A **logit** is."]}
    )
    [said] = used_too_early(paths, [LOGIT])
    assert "used before it is explained: A logit." in said
    paths = course(
        tmp_path, **{"02_second": ["# After it you know logits", "## Logits", "Called **logits**.", "Logits."]}
    )
    assert used_too_early(paths, [LOGIT]) == []
    paths = course(tmp_path, **{"02_second": ["# Two", "A logit is a number."]})
    assert used_too_early(paths, [LOGIT]) == ["02_second: expected it to explain **logit** in bold"]
    assert used_too_early([], [LOGIT]) == ["logit: no notebook 02_second"]


def test_a_word_of_two_may_be_parted_by_a_line(tmp_path):
    term = Term("attention head", "02_second", "A part.", ("attention head", "attention heads"))
    paths = course(
        tmp_path, **{"01_first": ["# One", "many attention\nheads, and a head"], "02_second": ["**attention head**"]}
    )
    assert len(used_too_early(paths, [term])) == 1


def test_sentences_end_where_they_do():
    assert sentences("One is $1.5$ long. Two\nis `a. b`!\n\n- three: four\n") == [
        "One is   long.",
        "Two\nis  !",
        "- three:",
        "four\n",
    ]


@pytest.mark.parametrize(
    "text",
    [
        '["logit"]\nmeans = "A number."',
        '["logit"]\nnotebook = "02"\nmeans = "a number"',
        '["logit"]\nnotebook = "02"\nmeans = "One. Two."',
        '["logit"]\nnotebook = "02"\nmeans = "A number."\nform = ["logits"]',
        'logit = "A number."',
    ],
)
def test_a_list_that_lacks_something_is_refused(tmp_path, text):
    (tmp_path / "terms.toml").write_text(text)
    with pytest.raises(ValueError, match="logit"):
        read_terms(tmp_path / "terms.toml")


def test_the_command_writes_the_glossary(tmp_path, monkeypatch, capsys):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "llmlab").mkdir()
    (tmp_path / "llmlab" / "__init__.py").touch()
    (tmp_path / "notebooks" / "terms.toml").write_text('["logit"]\nnotebook = "02_second"\nmeans = "A number."\n')
    monkeypatch.chdir(tmp_path)
    assert main(["glossary"]) == 0 and "1 words" in capsys.readouterr().out
    written = (tmp_path / "notebooks" / "glossary.md").read_text()
    assert "| logit | A number. | [02](02_second.ipynb) |" in written
