"""The embedding explorer in Python: neighbors against brute force with torch, the map against numpy, counts by hand."""

import json
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import traitlets

import llmlab
from llmlab import model_card
from llmlab.config import ModelConfig
from llmlab.training import new_model
from llmlab.widgets.base import FOLDER
from llmlab.widgets.embeddings import ANALOGY, KINDS, LONGEST, MOST, EmbeddingExplorer

STEPS, TOKENS, ROWS = model_card.snapshot_rows()
MODEL, TOKENIZER = llmlab.load_model()
WORDS = [TOKENIZER.decode([token]) for token in TOKENS.tolist()]
SOME = (" king", " dog", " Ashford", "7", "果汁", " the")
CHECKPOINTS = (0, 4, 7, 14)


@pytest.fixture
def explorer():
    return EmbeddingExplorer()


def centered(at):
    return ROWS[at].double() - ROWS[at].double().mean(0)  # (N, D)


def by_brute_force(word, at):
    """All other words by their cosine, computed word by word."""
    rows, n = centered(at), WORDS.index(word)
    cosines = [F.cosine_similarity(rows[n], row, dim=0).item() for row in rows]
    return sorted(((WORDS[m], c) for m, c in enumerate(cosines) if m != n), key=lambda pair: -pair[1])


def on_a_map(word, at):
    """All other words by their distance on the plane of the last table's first two singular vectors."""
    last = ROWS[-1].double().numpy()
    _, _, axes = np.linalg.svd(last - last.mean(0), full_matrices=False)
    spots, n = centered(at).numpy() @ axes[:2].T, WORDS.index(word)
    far = np.hypot(*(spots - spots[n]).T)
    return [(WORDS[m], far[m]) for m in np.argsort(far) if m != n]


@pytest.mark.parametrize("at", CHECKPOINTS)
@pytest.mark.parametrize("word", SOME)
def test_neighbors_equal_brute_force(explorer, word, at):
    explorer.word, explorer.step, explorer.k = word, STEPS[at], MOST
    expected = by_brute_force(word, at)[:MOST]
    assert [name for name, _ in explorer.neighbors] == [name for name, _ in expected]
    assert [c for _, c in explorer.neighbors] == pytest.approx([c for _, c in expected], abs=1e-6)
    explorer.k = 3
    assert [name for name, _ in explorer.neighbors] == [name for name, _ in expected[:3]]


@pytest.mark.parametrize("at", CHECKPOINTS)
@pytest.mark.parametrize("word", SOME)
def test_the_map_and_its_false_neighbors_equal_a_recount(explorer, word, at):
    explorer.word, explorer.step = word, STEPS[at]
    for k in (1, 5, 8):
        explorer.k = k
        expected, true = on_a_map(word, at)[:k], {name for name, _ in by_brute_force(word, at)[:k]}
        assert [name for name, _ in explorer.map_neighbors] == [name for name, _ in expected]
        assert [far for _, far in explorer.map_neighbors] == pytest.approx([far for _, far in expected], abs=1e-6)
        shared = sum(name in true for name, _ in expected)
        assert explorer.shared == shared
        tables = explorer.tables()
        assert [row[4] for row in tables[1].rows] == ["yes" if name in true else "no" for name, _ in expected]
        assert tables[2].rows[at][4] == f"{shared} of {k}"


def test_places_are_the_projections_up_to_a_sign(explorer):
    last = ROWS[-1].double().numpy()
    _, sizes, axes = np.linalg.svd(last - last.mean(0), full_matrices=False)
    signs = None
    for at in range(len(STEPS)):
        expected = centered(at).numpy() @ axes[:2].T  # (N, 2)
        found = explorer.places[at]
        now = np.sign((found * expected).sum(0))
        signs = now if signs is None else signs
        assert np.array_equal(now, signs)  # the same at all checkpoints
        assert np.allclose(found, expected * now, atol=1e-6)
        assert np.allclose(explorer.shares[at], (expected**2).sum(0) / (centered(at).numpy() ** 2).sum(), atol=1e-6)
    assert np.allclose(explorer.shares[-1], (sizes**2 / (sizes**2).sum())[:2], atol=1e-6)
    assert 0.06 < explorer.shares[-1].sum() < 0.08


def test_the_mean_of_shared_neighbors_is_that_of_all_words(explorer):
    for at, k in ((0, 8), (14, 8), (14, 5)):
        explorer.step, explorer.k = STEPS[at], k
        counts = []
        for word in WORDS:
            explorer.word = word
            counts.append(explorer.shared)
        assert explorer.means[at, k - 1] == pytest.approx(np.mean(counts), abs=1e-6)
    explorer.word, explorer.step, explorer.k = " king", STEPS[-1], 8
    assert explorer.shared == 1 and 0.55 < explorer.means[-1, 7] < 0.65  # what the first view says


def test_kinds_of_words(explorer):
    kind = {word: KINDS[kind] for word, kind in zip(explorer.words, explorer.kinds, strict=True)}
    for word, expected in {
        " Anna": "names", " Ashford": "places", " France": "places", " dog": "animals", " whale": "animals",
        "7": "numbers", " seven": "numbers", "果汁": "Chinese", " king": "others", " the": "others",
    }.items():  # fmt: skip
        assert kind[word] == expected, word
    assert kind.keys() == set(WORDS) and set(kind.values()) == set(KINDS)


def test_the_search(explorer):
    assert explorer.matches == []
    explorer.query = "king"
    assert explorer.matches[0] == " king" and set(explorer.matches) == {
        word for word in WORDS if "king" in word.lower()
    }
    explorer.query = " AN "
    starts = [word.strip().lower().startswith("an") for word in explorer.matches]
    assert starts == sorted(starts, reverse=True) and {" Anna", " animal", " and"} <= set(explorer.matches)
    assert {word.strip().lower() for word in explorer.matches[:2]} == {"an"}
    explorer.query = "果"
    assert "果汁" in explorer.matches
    explorer.query = "qqq"
    assert explorer.matches == []


# The sum and the sentence -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("three", [ANALOGY, (" Spain", " Spanish", " French"), (" mother", " father", " uncle")])
def test_the_ranking_of_a_sum_leaves_no_word_out(explorer, three):
    explorer.analogy = list(three)
    for at in (0, 14):
        explorer.step = STEPS[at]
        rows = ROWS[at].double()
        a, b, c = (rows[WORDS.index(word)] for word in three)
        mean = rows.mean(0)
        cosines = F.cosine_similarity((a - b + c - mean)[None], rows - mean)
        order = cosines.argsort(descending=True)[:MOST].tolist()
        assert [word for word, _ in explorer.ranking] == [WORDS[n] for n in order]
        assert [value for _, value in explorer.ranking] == pytest.approx(cosines[order].tolist(), abs=1e-5)
    assert explorer.error == "" and explorer.ranking[0][0] in three  # as often in raw rankings


def test_a_token_is_followed_through_the_layers(explorer):
    explorer.text = "The dog chased the cat"
    assert (
        explorer.path_tokens == ["The", " dog", *(explorer.path_tokens[2:])]
        and "".join(explorer.path_tokens) == explorer.text
    )
    explorer.position = 1
    states = []
    hooks = [
        block.register_forward_hook(lambda module, given, out: states.append(out[0] if isinstance(out, tuple) else out))
        for block in MODEL.blocks
    ]
    ids = torch.tensor([[TOKENIZER.special_tokens["<s>"], *TOKENIZER.encode(explorer.text)]])
    with torch.no_grad():
        MODEL(ids)
    for hook in hooks:
        hook.remove()
    vectors = [MODEL.embedding.weight[ids[0, 2]].detach(), *(state[0, 2] for state in states)]
    rows, mean = centered(-1), ROWS[-1].double().mean(0)
    assert len(explorer.path) == MODEL.config.n_layers + 1
    for vector, near in zip(vectors, explorer.path, strict=True):
        cosines = F.cosine_similarity((vector.double() - mean)[None], rows)
        order = cosines.argsort(descending=True)[:8].tolist()
        assert [word for word, _ in near] == [WORDS[n] for n in order]
        assert [value for _, value in near] == pytest.approx(cosines[order].tolist(), abs=1e-4)
    assert explorer.path[0][0] == (" dog", pytest.approx(1, abs=1e-3))


def test_a_refused_sentence_leaves_the_picture(explorer):
    before = explorer.path_tokens, explorer.path_nearest
    for text, said in (("", "got 0"), ("a " * 40, f"1 to {LONGEST} tokens"), ("\ud800", "surrogate")):
        explorer.text = text
        assert said in explorer.error
        assert explorer.path_tokens == before[0] and explorer.path_nearest is before[1]
    explorer.text = "a"
    assert explorer.error == "" and explorer.path_tokens == ["a"] and explorer.position == 0


# Traits -------------------------------------------------------------------------------------------------------------


def test_what_the_traits_refuse(explorer):
    for name, value, said in (
        ("word", "nothing like it", "expected one of the 1,000 words"),
        ("word", "king", "did you mean ' king', with its space?"),
        ("step", 1, "expected a step of [0, 360"),
        ("k", 0, "'k'"), ("k", MOST + 1, "'k'"), ("neighbor", MOST, "'neighbor'"), ("neighbor", -2, "'neighbor'"),
        ("position", 99, "expected position from 0 to"),
        ("analogy", [" king"], "expected three words"),
        ("analogy", [" king", " man", " xx"], "expected one of"),
    ):  # fmt: skip
        before = getattr(explorer, name)
        with pytest.raises(traitlets.TraitError, match=re.escape(said)):
            setattr(explorer, name, value)
        assert getattr(explorer, name) == before
    with pytest.raises(traitlets.TraitError, match="expected one of"):
        EmbeddingExplorer(word="king")
    with pytest.raises(ValueError, match="expected a sentence"):
        EmbeddingExplorer(text="")
    with pytest.raises(traitlets.TraitError, match="expected position"):
        EmbeddingExplorer(position=40)


def test_a_model_with_other_rows_is_refused():
    small = ModelConfig(vocab_size=4096, d_model=8, n_layers=1, n_heads=2, head_dim=4, d_ff=16, max_seq_len=64)
    with pytest.raises(ValueError, match="expected a model with rows of 192 numbers"):
        EmbeddingExplorer(new_model(small, seed=0), TOKENIZER)


def test_the_constructor_sets_the_state():
    explorer = EmbeddingExplorer(
        MODEL, TOKENIZER, word=" dog", step=3600, k=5, text="A dog", position=0, analogy=(" man", " king", " queen")
    )
    state = explorer.word, explorer.step, explorer.k, explorer.path_tokens, explorer.position, explorer.analogy
    assert state == (" dog", 3600, 5, ["A", " dog"], 0, [" man", " king", " queen"])
    assert repr(explorer).startswith("EmbeddingExplorer(' dog' at step 3600: nearest ")
    assert repr(EmbeddingExplorer()) == repr(EmbeddingExplorer())


def test_words_of_the_page_and_of_python_are_the_same(explorer):
    script = (FOLDER / "embeddings.js").read_text(encoding="utf-8")
    assert f"const KINDS = {json.dumps(list(KINDS))};" in script and f"const MOST = {MOST};" in script
    assert len(script.encode()) <= 30_000
    assert "&lt;" not in explorer.fallback_html() and explorer.fallback_html().count("<table>") == 5
