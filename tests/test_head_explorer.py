"""The head explorer: its traits, and its numbers against plain forward passes and a model with zeroed weights."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import traitlets
from models import TINY_LLAMA, label, maimed, random_model

from llmlab import heads, load_model, model_card, trace
from llmlab.widgets.heads import KNOWS, LONGEST, SCORES, TEXT, HeadExplorer

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


# Cutting edges ------------------------------------------------------------------------------------------------------


def by_hand(ids, edges=(), out=()):
    """Weights (L, H, T, T) and logits (T, V) with the masked attention built here, on the model's matrices alone."""
    n, d, half = len(ids), CONFIG.head_dim, CONFIG.head_dim // 2
    group = CONFIG.n_heads // CONFIG.n_kv_heads
    turn = torch.outer(torch.arange(n), CONFIG.rope_theta ** (-torch.arange(half) / half))  # (T, d/2)
    turn = torch.polar(torch.ones_like(turn), turn)

    def turned(x):  # (H, T, d), RoPE by complex numbers
        z = torch.complex(x[..., :half], x[..., half:]) * turn
        return torch.cat((z.real, z.imag), dim=-1)

    def split(x):  # (T, H·d) -> (H, T, d)
        return x.view(n, -1, d).transpose(0, 1)

    everything = []
    with torch.inference_mode():
        x = F.embedding(torch.tensor(ids), MODEL.embedding.weight)  # (T, D)
        for layer, block in enumerate(MODEL.blocks):
            a = block.attention
            normal = F.rms_norm(x, (CONFIG.d_model,), block.attention_norm.weight, CONFIG.norm_eps)
            q, k, v = (split(F.linear(normal, part.weight)) for part in (a.q_proj, a.k_proj, a.v_proj))
            q, k, v = turned(q), turned(k).repeat_interleave(group, 0), v.repeat_interleave(group, 0)  # (H, T, d)
            allowed = torch.ones(CONFIG.n_heads, n, n, dtype=torch.bool).tril()
            for at, head, query, key in edges:
                if at == layer:
                    allowed[head, query, key] = False
            exponents = (q @ k.transpose(1, 2) / d**0.5).exp() * allowed  # (H, T, T)
            weights = exponents / exponents.sum(-1, keepdim=True)
            read = weights @ v  # (H, T, d)
            for at, head in out:
                if at == layer:
                    read[head] = 0
            x = x + F.linear(read.transpose(0, 1).reshape(n, -1), a.o_proj.weight)
            x = x + block.ffn(F.rms_norm(x, (CONFIG.d_model,), block.ffn_norm.weight, CONFIG.norm_eps))
            everything.append(weights)
        x = F.rms_norm(x, (CONFIG.d_model,), MODEL.norm.weight, CONFIG.norm_eps)
        return torch.stack(everything), F.linear(x, MODEL.embedding.weight)


EDGES = [(2, 1, 9, 3), (2, 1, 9, 5), (2, 4, 9, 3), (0, 5, 6, 6), (5, 0, 10, 0)]


@pytest.mark.parametrize("out", [[], [(2, 3), (0, 1)]])
def test_a_cut_edge_is_a_forbidden_look_in_attention_built_by_hand(explorer, out):
    explorer.ablated, explorer.cut_edges = out, EDGES
    ids = ids_of(SHORT)
    weights, logits = by_hand(ids, EDGES, out)
    plain, _ = by_hand(ids)
    np.testing.assert_allclose(plain, passed(MODEL, ids)[0], atol=1e-4)  # the hand's model is the model
    np.testing.assert_allclose(explorer._shown_run.weights, weights, atol=1e-4)
    for layer, head, query, key in EDGES:
        assert explorer.weights[layer, head, query, key] == 0 and plain[layer, head, query, key] > 0
        assert explorer._shown_run.weights[layer, head, query].sum() == pytest.approx(1, abs=1e-5)
    loss = F.cross_entropy(logits[:-1], torch.tensor(ids[1:])).item()
    assert explorer.loss == pytest.approx(loss, rel=1e-3) and explorer.loss != explorer.loss_whole
    chance = logits[-1].softmax(-1).topk(5)
    assert explorer.candidates[1] == [TOKENIZER.decode([token]) for token in chance.indices.tolist()]
    np.testing.assert_allclose(explorer.probabilities[1, 1], chance.values, rtol=5e-3)
    expected = [plain[tuple(edge)].item() for edge in explorer.cut_edges]
    np.testing.assert_allclose(explorer.cut_weights, expected, atol=1e-4)


def test_the_keys_that_stay_share_what_the_cut_key_had(explorer):
    before = explorer._whole.weights[2, 1, 9].clone()
    explorer.cut_edges = [[2, 1, 9, 3]]
    after = explorer._shown_run.weights[2, 1, 9]
    expected = before / (1 - before[3])
    expected[3] = 0
    np.testing.assert_allclose(after, expected, atol=1e-6)
    others = torch.ones(CONFIG.n_layers, CONFIG.n_heads, len(explorer.ids), dtype=torch.bool)
    others[2, 1, 9] = False  # what the edge feeds lies in later layers, from that query on
    others[3:, :, 9:] = False
    assert torch.equal(explorer._shown_run.weights[others], explorer._whole.weights[others])


def test_restoring_all_gives_the_whole_model_again(explorer):
    before = explorer.weights, explorer.loss
    explorer.cut_edges = [(3, 2, 7, 1), [0, 0, 4, 4], (3, 2, 7, 1)]
    assert explorer.cut_edges == [[0, 0, 4, 4], [3, 2, 7, 1]] and explorer.loss != before[1]
    explorer.cut_edges = []
    np.testing.assert_array_equal(explorer.weights, before[0])
    assert explorer.loss == explorer.loss_whole == before[1] and explorer.cut_weights.size == 0


def test_heads_and_edges_restored_together_run_once(explorer):
    explorer.ablated, explorer.cut_edges = [[0, 1]], [[1, 1, 3, 2]]
    revision = explorer.revision
    explorer.set_state({"ablated": [], "cut_edges": []})
    assert explorer.revision == revision + 1 and explorer.loss == explorer.loss_whole


def test_edges_can_be_cut_from_the_start():
    explorer = HeadExplorer(MODEL, TOKENIZER, SHORT, cut_edges=[(2, 1, 9, 3)], token=9, key=3, layer=2, head=1)
    np.testing.assert_allclose(explorer._shown_run.weights, by_hand(explorer.ids, [(2, 1, 9, 3)])[0], atol=1e-4)
    assert (explorer.token, explorer.key, explorer.revision) == (9, 3, 2)


def test_a_new_text_keeps_the_edges_of_its_unchanged_beginning(explorer):
    explorer.cut_edges = [[2, 1, 9, 3], [2, 1, 3, 1]]
    explorer.token, explorer.key = 9, 3
    explorer.text = SHORT + " The dog was not."
    assert explorer.cut_edges == [[2, 1, 3, 1], [2, 1, 9, 3]] and (explorer.token, explorer.key) == (9, 3)
    np.testing.assert_allclose(explorer._shown_run.weights, by_hand(explorer.ids, explorer.cut_edges)[0], atol=1e-4)
    explorer.text = "The cat was old."
    assert explorer.cut_edges == [[2, 1, 3, 1]] and (explorer.token, explorer.key) == (-1, -1)
    np.testing.assert_allclose(explorer._shown_run.weights, by_hand(explorer.ids, [(2, 1, 3, 1)])[0], atol=1e-4)
    explorer.text = "A"
    assert explorer.cut_edges == [] and explorer.loss == explorer.loss_whole


@pytest.mark.parametrize(
    ("edge", "message"),
    [
        ([CONFIG.n_layers, 0, 2, 1], rf"no head \({CONFIG.n_layers}, 0\); expected a layer below {CONFIG.n_layers}"),
        ([0, -1, 2, 1], r"no head \(0, -1\)"),
        ([0, 0, 2, 3], "query 2 does not look at key 3, only at keys 0 to 2"),
        ([0, 0, 2, -1], "query 2 does not look at key -1"),
        ([0, 0, 0, 0], r"query 0 of head \(0, 0\) would have no key left to look at"),
        ([0, 0, 99, 1], "no query 99 in a text of 11 tokens; expected one from 1 to 10, since token 0 has only itself"),
        ([0, 0, 2], r"expected \[layer, head, query, key\] in `cut_edges`, got \[0, 0, 2\]"),
        (3, "got 3"),
        ("0021", "got '0021'"),
        ([0, 0, 2, True], "True"),
    ],
)
def test_what_is_no_edge_cannot_be_cut(explorer, edge, message):
    with pytest.raises(traitlets.TraitError, match=message):
        explorer.cut_edges = [edge]
    assert explorer.cut_edges == [] and explorer.loss == explorer.loss_whole
    with pytest.raises(traitlets.TraitError, match=message):
        HeadExplorer(MODEL, TOKENIZER, SHORT, cut_edges=[edge])


def test_a_query_keeps_one_key(explorer):
    explorer.cut_edges = [[1, 1, 2, 0], [1, 1, 2, 1]]
    assert explorer._shown_run.weights[1, 1, 2, 2] == 1
    with pytest.raises(traitlets.TraitError, match=r"query 2 of head \(1, 1\) would have no key left"):
        explorer.cut_edges = [[1, 1, 2, key] for key in range(3)]
    assert len(explorer.cut_edges) == 2


def test_the_table_lists_the_cuts(explorer):
    assert len(explorer.tables()) == 3
    explorer.cut_edges, explorer.ablated = [[2, 1, 9, 3], [0, 2, 4, 1]], [[3, 1]]
    table = explorer.tables()[3]
    weights = [explorer._whole.weights[0, 2, 4, 1], explorer._whole.weights[2, 1, 9, 3]]
    words = [label(TOKENIZER, token) for token in explorer.ids]
    assert table.rows == [
        ["1.3", f"4 {words[4]}", f"1 {words[1]}", f"{weights[0]:.2f}"],
        ["3.2", f"9 {words[9]}", f"3 {words[3]}", f"{weights[1]:.2f}"],
    ]
    assert explorer.tables()[2].columns[3] == "without 4.2, 2 edges"
    assert "without 4.2 and 2 edges" in repr(explorer)


def test_the_explorer_says_what_the_model_knows(shared):
    assert shared.knows == KNOWS and "\n" not in KNOWS and "because it was too" in KNOWS


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


@pytest.mark.parametrize("name", ["token", "key"])
def test_a_token_that_is_not_there_is_refused(explorer, name):
    last = len(explorer.ids) - 1
    setattr(explorer, name, last)
    for value in (-2, last + 1):
        with pytest.raises(traitlets.TraitError, match=f"a {name} from 0 to {last}, or -1 for none; got {value}"):
            setattr(explorer, name, value)


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
    losses = f"{explorer.loss_whole:.3g} nats a token, without what is out {explorer.loss:.3g}"
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
