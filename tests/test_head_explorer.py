"""The head explorer: its traits, and its numbers against plain forward passes and a model with zeroed weights."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import traitlets
from models import TINY_LLAMA, maimed, random_model

from llmlab import heads, load_model, model_card, trace
from llmlab.widgets.heads import LONGEST, SCORES, TEXT, HeadExplorer

MODEL, TOKENIZER = load_model()
CONFIG = MODEL.config
SHORT = "The cat was tired because the cat was old."


@pytest.fixture(scope="module")
def shared():
    """One run for the tests that only read."""
    return HeadExplorer(MODEL, TOKENIZER)


@pytest.fixture
def explorer():
    return HeadExplorer(MODEL, TOKENIZER, SHORT)


def ids_of(text):
    return [TOKENIZER.special_tokens["<s>"], *TOKENIZER.encode(text)]


def loss_of(model, ids):
    return F.cross_entropy(passed(model, ids)[1][:-1], torch.tensor(ids[1:])).item()


def passed(model, ids):
    """Weights (L, H, T, T) and logits (T, V) of a plain forward pass."""
    with torch.inference_mode(), trace.record(model) as seen:
        logits = model(torch.tensor([ids]))[0]
    layers = range(model.config.n_layers)
    return torch.stack([seen[f"blocks.{layer}.attention.weights"][0] for layer in layers]), logits


# The run ------------------------------------------------------------------------------------------------------------


def test_the_tokens_are_those_of_the_text(shared):
    assert shared.ids == ids_of(TEXT) and "".join(shared.labels) == "<s>" + TEXT


def test_the_weights_are_the_models_to_a_255th(shared):
    expected, _ = passed(MODEL, ids_of(TEXT))
    assert shared.weights.dtype == np.uint8
    assert shared.weights.shape == (CONFIG.n_layers, CONFIG.n_heads, len(shared.ids), len(shared.ids))
    np.testing.assert_allclose(shared.weights / 255, expected, atol=0.5 / 255 + 1e-5)
    assert (np.triu(shared.weights, 1) == 0).all()


def test_the_rows_of_the_chosen_head_are_exact(shared):
    expected, _ = passed(MODEL, ids_of(TEXT))
    np.testing.assert_allclose(shared.rows(), expected[shared.layer, shared.head], atol=1e-5)
    np.testing.assert_allclose(shared.rows().sum(-1), np.ones(len(shared.ids)), atol=1e-5)


@pytest.mark.parametrize("out", [[], [(2, 3), (0, 1)]])
def test_the_scores_are_those_of_the_text_and_of_repeated_words(out):
    explorer = HeadExplorer(MODEL, TOKENIZER, SHORT, ablated=out)
    tokens = model_card.words_said_twice(TOKENIZER)
    period = (tokens.shape[1] - 1) // 2
    assert torch.equal(tokens[:, 1 : 1 + period], tokens[:, 1 + period :])
    words = heads.attention_weights(maimed(MODEL, out), tokens)
    text = heads.attention_weights(maimed(MODEL, out), torch.tensor([ids_of(SHORT)]))
    expected = (
        heads.induction_scores(words[..., 1:, 1:], period),
        heads.previous_token_scores(text),
        heads.first_token_scores(text),
        heads.entropies(text),
    )
    assert explorer.score_names == list(SCORES) and explorer.scores.shape == (4, CONFIG.n_layers, CONFIG.n_heads)
    np.testing.assert_allclose(explorer.scores, torch.stack(expected), atol=2e-5)


def test_the_loss_is_the_mean_cross_entropy_of_the_texts_tokens(shared):
    assert shared.loss == shared.loss_whole == pytest.approx(loss_of(MODEL, ids_of(TEXT)), rel=1e-4)


def test_the_candidates_are_the_likeliest_next_tokens(shared):
    best = passed(MODEL, ids_of(TEXT))[1][-1].softmax(-1).topk(5)
    labels = [TOKENIZER.decode([token]) for token in best.indices.tolist()]
    assert shared.candidates == [labels, labels]
    np.testing.assert_allclose(shared.probabilities, best.values.expand(2, 2, 5), rtol=1e-3)


# Taking heads out ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("out", [[(0, 0)], [(2, 1), (0, 3), (3, 2)], [(1, head) for head in range(CONFIG.n_heads)]])
def test_a_head_taken_out_is_a_head_whose_output_weights_are_zero(explorer, out):
    explorer.ablated = out
    ids = ids_of(SHORT)
    weights, logits = passed(maimed(MODEL, out), ids)
    _, whole = passed(MODEL, ids)
    np.testing.assert_allclose(explorer.weights / 255, weights, atol=0.5 / 255 + 1e-5)
    np.testing.assert_allclose(explorer.rows(), weights[explorer.layer, explorer.head], atol=1e-5)
    assert explorer.loss == pytest.approx(loss_of(maimed(MODEL, out), ids), rel=1e-4)
    assert explorer.loss_whole == pytest.approx(loss_of(MODEL, ids), rel=1e-4)
    chances = [run[-1].softmax(-1) for run in (whole, logits)]
    for which, chance in enumerate(chances):
        best = chance.topk(5).indices
        assert explorer.candidates[which] == [TOKENIZER.decode([token]) for token in best.tolist()]
        for run in (0, 1):
            np.testing.assert_allclose(explorer.probabilities[which, run], chances[run][best], rtol=1e-3, atol=1e-7)


def test_putting_all_back_gives_the_whole_model_again(explorer):
    before = explorer.weights, explorer.scores, explorer.loss
    explorer.ablated = [[0, 0], [3, 2]]
    assert explorer.loss != before[2] and explorer.loss_whole == before[2]
    explorer.ablated = []
    np.testing.assert_array_equal(explorer.weights, before[0])
    np.testing.assert_array_equal(explorer.scores, before[1])
    assert explorer.loss == before[2]


def test_the_heads_stay_out_when_another_text_is_typed(explorer):
    explorer.ablated = [[0, 2]]
    explorer.text = "The dog was tired."
    ids = ids_of("The dog was tired.")
    np.testing.assert_allclose(explorer.weights / 255, passed(maimed(MODEL, [(0, 2)]), ids)[0], atol=0.5 / 255 + 1e-5)
    assert explorer.loss == pytest.approx(loss_of(maimed(MODEL, [(0, 2)]), ids), rel=1e-4)
    assert explorer.loss_whole == pytest.approx(loss_of(MODEL, ids), rel=1e-4)
    assert explorer.loss != explorer.loss_whole


def test_repeated_words_run_once_for_each_set_of_heads(explorer, monkeypatch):
    calls = []
    measured = heads.attention_weights
    monkeypatch.setattr(heads, "attention_weights", lambda *given: calls.append(given) or measured(*given))
    explorer.text = "The dog was tired."
    assert len(calls) == 0
    explorer.ablated = [[0, 2]]
    explorer.ablated = []
    explorer.ablated = [[0, 2]]
    explorer.text = SHORT
    assert len(calls) == 1


def test_pairs_are_sorted_and_said_once(explorer):
    explorer.ablated = ((3, 1), [0, 2], (3, 1))
    assert explorer.ablated == [[0, 2], [3, 1]]


# Traits -------------------------------------------------------------------------------------------------------------


def test_the_first_view_is_the_head_with_the_highest_induction_or_previous_token_score(shared):
    best = np.maximum(shared.scores[0], shared.scores[1])
    assert (shared.layer, shared.head) == np.unravel_index(best.argmax(), best.shape)
    assert shared.token == -1 and shared.shown == "both" and shared.sort_by == "layer"
    assert not shared.busy and shared.error == ""


def test_the_caller_may_choose_the_head_or_only_its_layer(shared):
    best = np.maximum(shared.scores[0], shared.scores[1])
    chosen = HeadExplorer(MODEL, TOKENIZER, layer=1, head=2, token=3, sort_by="entropy", shown="map", scale=2)
    assert (chosen.layer, chosen.head, chosen.token, chosen.sort_by, chosen.shown) == (1, 2, 3, "entropy", "map")
    assert HeadExplorer(MODEL, TOKENIZER, layer=1).head == best[1].argmax()
    assert HeadExplorer(MODEL, TOKENIZER, head=2).layer == best[:, 2].argmax()


def test_looking_runs_nothing(explorer):
    revision = explorer.revision
    explorer.layer, explorer.head, explorer.token = 3, 1, 4
    explorer.sort_by, explorer.shown, explorer.view = "induction", "edges", "table"
    assert explorer.revision == revision
    explorer.text = "The dog"
    assert explorer.revision == revision + 1
    explorer.ablated = [[0, 0]]
    assert explorer.revision == revision + 2


def test_a_locked_query_stays_while_the_text_up_to_it_does(explorer):
    explorer.token = 4
    explorer.text = SHORT + " The dog was not."
    assert explorer.token == 4
    explorer.ablated = [[0, 0]]
    assert explorer.token == 4
    explorer.text = "A dog was tired."
    assert explorer.token == -1
    explorer.token = 3
    explorer.text = "A"
    assert explorer.token == -1


def test_line_ends_and_special_tokens_are_text(explorer):
    explorer.text = "a\nb</s>"
    assert explorer.error == "" and "\n" in "".join(explorer.labels)
    assert TOKENIZER.special_tokens["</s>"] not in explorer.ids


def test_other_shapes_of_model_work_too():
    config = dataclasses.replace(
        TINY_LLAMA, vocab_size=CONFIG.vocab_size, n_layers=12, n_heads=16, n_kv_heads=4, max_seq_len=40
    )
    explorer = HeadExplorer(random_model(config), TOKENIZER, "The cat", ablated=[(11, 15)])
    assert explorer.weights.shape[:2] == (12, 16) and np.isfinite(explorer.scores).all()


# What is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, count", [("layer", CONFIG.n_layers), ("head", CONFIG.n_heads)])
def test_a_head_that_is_not_there_is_refused(explorer, name, count):
    for value in (-1, count):
        with pytest.raises(traitlets.TraitError, match=f"expected a {name} from 0 to {count - 1}, got {value}"):
            setattr(explorer, name, value)
        with pytest.raises(traitlets.TraitError, match=f"expected a {name} from 0 to {count - 1}, got {value}"):
            HeadExplorer(MODEL, TOKENIZER, SHORT, **{name: value})


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ((CONFIG.n_layers, 0), rf"no head \({CONFIG.n_layers}, 0\); expected a layer below {CONFIG.n_layers}"),
        ([0, -1], r"no head \(0, -1\)"),
        (3, r"expected pairs of a layer and a head in `ablated`, got 3"),
        ([1, 2, 3], r"got \[1, 2, 3\]"),
        ("12", r"got '12'"),
        ([0.5, 1], r"got \[0.5, 1\]"),
    ],
)
def test_what_is_no_head_cannot_be_taken_out(explorer, pair, message):
    with pytest.raises(traitlets.TraitError, match=message):
        explorer.ablated = [pair]
    assert explorer.ablated == []
    with pytest.raises(traitlets.TraitError, match=message):
        HeadExplorer(MODEL, TOKENIZER, SHORT, ablated=[pair])


def test_a_token_that_is_not_there_is_refused(explorer):
    last = len(explorer.ids) - 1
    explorer.token = last
    for value in (-2, last + 1):
        with pytest.raises(traitlets.TraitError, match=f"from 0 to {last}, or -1 for none; got {value}"):
            explorer.token = value


def test_a_text_that_does_not_fit_is_refused_and_the_picture_stays(explorer):
    before, revision = explorer.ids, explorer.revision
    explorer.text = "cat " * 200
    count = len(ids_of("cat " * 200))
    assert explorer.error == f"the text has {count} tokens, <s> included; expected at most {LONGEST}"
    assert explorer.ids == before and explorer.revision == revision and not explorer.busy
    explorer.ablated = [[0, 0]]  # works on the text that is shown, and the problem stays said
    assert explorer.ids == before and explorer.revision == revision + 1 and "expected at most" in explorer.error
    explorer.text = ""
    assert explorer.error == "expected a text of at least one token, got an empty one" and explorer.ids == before
    explorer.text = SHORT
    assert explorer.error == ""
    with pytest.raises(ValueError, match=f"{count} tokens, <s> included; expected at most {LONGEST}"):
        HeadExplorer(MODEL, TOKENIZER, "cat " * 200)
    with pytest.raises(ValueError, match="at least one token"):
        HeadExplorer(MODEL, TOKENIZER, "")


def test_the_longest_text_fits():
    text = TOKENIZER.decode(TOKENIZER.encode("the cat and the dog " * 60)[: LONGEST - 1])
    assert len(HeadExplorer(MODEL, TOKENIZER, text).ids) == LONGEST


def test_a_model_in_training_mode_or_with_a_small_vocabulary_is_refused():
    with pytest.raises(ValueError, match=r"training mode.*model\.eval\(\)"):
        HeadExplorer(random_model(TINY_LLAMA).train(), TOKENIZER, "The cat")
    with pytest.raises(ValueError, match=f"the model knows {TINY_LLAMA.vocab_size} tokens"):
        HeadExplorer(random_model(TINY_LLAMA), TOKENIZER, "The cat")


# As text ------------------------------------------------------------------------------------------------------------


def test_the_table_of_heads_follows_the_order(explorer):
    table = explorer.tables()[0]
    assert table.columns == ["head", *SCORES, "taken out"]
    names = [f"{layer}.{head}" for layer in range(1, CONFIG.n_layers + 1) for head in range(1, CONFIG.n_heads + 1)]
    assert [row[0] for row in table.rows] == names
    explorer.sort_by, explorer.ablated = "previous token", [[2, 1]]
    table = explorer.tables()[0]
    column = [row[2] for row in table.rows]
    assert sorted(row[0] for row in table.rows) == sorted(names) and column == sorted(column, reverse=True)
    assert column[0] == f"{heads.previous_token_scores(explorer._shown_run.weights[:, None]).max():.2f}"
    assert [row[0] for row in table.rows if row[-1] == "out"] == ["3.2"]


def test_the_table_of_a_query_says_where_it_looks(explorer):
    expected, _ = passed(MODEL, ids_of(SHORT))
    row = explorer.tables()[1]
    assert len(row.rows) == len(explorer.ids)  # of the last token, while none is locked
    explorer.layer, explorer.head, explorer.token = 3, 2, 5
    row = explorer.tables()[1]
    assert [int(cells[0]) for cells in row.rows] == list(range(6))
    shown = [float(cells[2]) for cells in row.rows]
    assert shown == pytest.approx(expected[3, 2, 5, :6].tolist(), abs=0.00501)
    assert "head 4.3" in row.caption and "token 5" in row.caption


def test_the_table_of_next_tokens_stands_both_ways(explorer):
    table = explorer.tables()[2]
    assert table.columns == ["rank", "whole model", "probability"] and len(table.rows) == 5
    explorer.ablated = [[0, 0], [1, 2]]
    table = explorer.tables()[2]
    assert table.columns[3:] == ["without 1.1, 2.3", "probability"]
    chance = passed(maimed(MODEL, [(0, 0), (1, 2)]), ids_of(SHORT))[1][-1].softmax(-1)
    assert [float(row[4]) for row in table.rows] == pytest.approx(chance.topk(5).values.tolist(), abs=6e-4)
    losses = f"{explorer.loss_whole:.3g} nats a token, without the heads {explorer.loss:.3g}"
    assert losses in table.caption


def test_repr_and_fallback_are_the_same_on_every_run():
    one, two = (HeadExplorer(MODEL, TOKENIZER, SHORT, layer=2, head=1) for _ in range(2))
    assert repr(one) == repr(two) and one.fallback_html() == two.fallback_html()
    shape = f"{len(one.ids)} tokens, {CONFIG.n_layers} × {CONFIG.n_heads} heads"
    begin = f"HeadExplorer('{SHORT[:39]}…', {shape}, head 3.2 chosen, loss "
    whole = f"{loss_of(MODEL, ids_of(SHORT)):.3g}"
    assert repr(one) == f"{begin}{whole} nats a token)"
    one.ablated = [[0, 0], [3, 1]]
    assert repr(one) == f"{begin}{one.loss:.3g} nats a token without 1.1 and 4.2, {whole} whole)"


def test_without_a_kernel_the_text_is_escaped(explorer):
    explorer.text = "<b>bold</b>"
    explorer.token = -1
    bundle, _ = explorer._repr_mimebundle_()
    assert "<b>" not in bundle["text/html"] and "&lt;" in bundle["text/html"]
    assert bundle["text/plain"] == repr(explorer)


def test_the_javascript_is_at_most_30_kb_and_imports_nothing():
    text = str(HeadExplorer._esm)
    assert "function render" in text and "import " not in text and "http" not in text
    assert len(text[text.index("/* HeadExplorer") :].encode()) <= 30_000
