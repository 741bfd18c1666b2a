"""The KV-cache stepper: its traits, and its numbers against torch, closed forms and PyTorch's own counter."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import traitlets
from models import TINY_LLAMA, random_model
from torch.utils.flop_counter import FlopCounterMode

from llmlab import load_model, trace
from llmlab.generate import generate
from llmlab.kv_cache import KVCache
from llmlab.widgets.kv_cache import KVCacheStepper, _with_unit

MODEL, TOKENIZER = load_model()
CONFIG = MODEL.config
PROMPT, N_NEW = "The cat was tired", 6


@pytest.fixture(scope="module")
def shared():
    """One run for the tests that only read."""
    return KVCacheStepper(MODEL, TOKENIZER, PROMPT, N_NEW)


@pytest.fixture
def stepper():
    return KVCacheStepper(MODEL, TOKENIZER, PROMPT, N_NEW)


def ids_of(text):
    return [TOKENIZER.special_tokens["<s>"], *TOKENIZER.encode(text)]


# The run ------------------------------------------------------------------------------------------------------------


def test_the_tokens_are_those_of_greedy_generation(shared):
    expected = [step.token for step in generate(MODEL, ids_of(PROMPT), N_NEW)]
    assert shared.ids == ids_of(PROMPT) + expected and shared.n_prompt == len(ids_of(PROMPT))
    assert "".join(shared.labels) == "<s>" + TOKENIZER.decode(shared.ids[1:])
    assert shared.agree == [True] * N_NEW


def test_keys_and_values_of_layer_0_equal_torch_by_hand(shared):
    """Norm, projection and, for keys, a rotation by complex numbers."""
    ids = shared.ids[:-1]  # the last token is never run
    block, n_tokens, half = MODEL.blocks[0], len(ids), CONFIG.head_dim // 2
    with torch.no_grad():
        x = F.embedding(torch.tensor(ids), MODEL.embedding.weight)  # (T, D)
        normal = F.rms_norm(x, (CONFIG.d_model,), block.attention_norm.weight, CONFIG.norm_eps)
        k, v = (
            F.linear(normal, weight).view(n_tokens, CONFIG.n_kv_heads, -1).transpose(0, 1)  # (G, T, d)
            for weight in (block.attention.k_proj.weight, block.attention.v_proj.weight)
        )
    angles = torch.outer(torch.arange(n_tokens), CONFIG.rope_theta ** (-torch.arange(half) / half))
    z = torch.complex(k[..., :half], k[..., half:]) * torch.polar(torch.ones_like(angles), angles)
    np.testing.assert_allclose(shared.key_vectors[0], torch.cat((z.real, z.imag), dim=-1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(shared.value_vectors[0], v, rtol=1e-4, atol=1e-5)
    assert shared.key_vectors.shape == (CONFIG.n_layers, CONFIG.n_kv_heads, n_tokens, CONFIG.head_dim)


def test_keys_and_values_of_every_layer_are_the_models_in_one_pass(shared):
    with torch.inference_mode(), trace.record(MODEL) as seen:
        MODEL(torch.tensor([shared.ids[:-1]]))
    for name, vectors in (("k", shared.key_vectors), ("v", shared.value_vectors)):
        expected = torch.stack([seen[f"blocks.{layer}.attention.{name}"][0] for layer in range(CONFIG.n_layers)])
        np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=3e-5)
    assert 0 <= shared.key_difference < 1e-5 * np.abs(shared.key_vectors).max()


def test_logits_candidates_and_probabilities_are_the_models(shared):
    with torch.inference_mode():
        all_logits = MODEL(torch.tensor([shared.ids[:-1]]))[0, shared.n_prompt - 1 :]  # (steps, V)
    best = all_logits.topk(5, dim=-1)
    assert shared.candidates == [[TOKENIZER.decode([token]) for token in row] for row in best.indices.tolist()]
    for lane in (0, 1):
        np.testing.assert_allclose(shared.logits[lane], best.values, rtol=1e-4, atol=1e-4)
        expected = all_logits.softmax(-1).gather(1, best.indices)
        np.testing.assert_allclose(shared.probabilities[lane], expected, rtol=1e-3, atol=1e-6)
    assert (shared.difference[1] <= 1e-5).all() and (shared.difference[0] >= 0).all()
    largest = all_logits.abs().amax(-1)
    np.testing.assert_allclose(shared.difference[0], shared.difference[1] * largest.numpy(), rtol=1e-3)


def test_keys_computed_follow_the_closed_form(shared):
    """Without a cache n(2p + n − 1)/2 keys in n steps after a prompt of p; with one p + n − 1."""
    p, n = shared.n_prompt, N_NEW
    assert shared.computed.tolist() == [list(range(p, p + n)), [p] + [1] * (n - 1)]
    assert shared.computed[0].sum() == n * (2 * p + n - 1) // 2 and shared.computed[1].sum() == p + n - 1
    assert [step.computed for step in shared.steps] == list(map(tuple, shared.computed.T.tolist()))


def test_the_count_comes_from_the_recorded_tensors(monkeypatch):
    """A cache that forgets makes the cached lane compute everything again, and the widget must say so."""

    class Forgetful(KVCache):
        @property
        def lengths(self):
            super().truncate(0)
            return super().lengths

    monkeypatch.setattr("llmlab.widgets.kv_cache.KVCache", Forgetful)
    stepper = KVCacheStepper(MODEL, TOKENIZER, PROMPT, 3)
    assert stepper.computed[1].tolist() == stepper.computed[0].tolist()
    assert {tuple(row[1:]) for row in stepper.tables()[1].rows[:-1]} == {("again", "again")}


@pytest.mark.parametrize("index", [0, 1, N_NEW - 1])
def test_flops_equal_pytorchs_counter(shared, index):
    """Recorded, so that attention is written out: PyTorch counts 0 for fused attention on a CPU."""
    ids, p = shared.ids, shared.n_prompt
    cache = KVCache(CONFIG, 1, len(ids))
    with torch.inference_mode(), trace.record(MODEL, ["final"]):
        if index:
            MODEL.hidden(torch.tensor([ids[: p + index - 1]]), cache=cache)
        counts = []
        for tokens, held in ((ids[: p + index], None), (ids[p + index - 1 : p + index] if index else ids[:p], cache)):
            with FlopCounterMode(display=False) as counter:
                MODEL.head(MODEL.hidden(torch.tensor([tokens]), cache=held)[0, -1:])
            counts.append(counter.get_total_flops())
    assert shared.steps[index].flops == tuple(counts)
    np.testing.assert_allclose(shared.flops[:, index], counts, rtol=1e-6)


def test_bytes_in_use_are_those_of_a_cache_of_that_length(shared):
    lengths = range(shared.n_prompt, shared.n_prompt + N_NEW)
    assert shared.cache_bytes.tolist() == [KVCache(CONFIG, 1, length).nbytes for length in lengths]


def test_milliseconds_are_measured_for_both_lanes_of_every_step(shared):
    assert shared.milliseconds.shape == (2, N_NEW) and (shared.milliseconds > 0).all()


def test_generation_stops_at_the_end_of_the_text(monkeypatch):
    end = TOKENIZER.special_tokens["</s>"]
    special = dict(TOKENIZER.special_tokens)
    third = list(generate(MODEL, ids_of(PROMPT), 3))[-1].token
    monkeypatch.setitem(TOKENIZER.special_tokens, "</s>", third)  # as if the third token were the end
    stepper = KVCacheStepper(MODEL, TOKENIZER, PROMPT, 12)
    first = next(index for index, token in enumerate(stepper.ids[stepper.n_prompt :]) if token == third)
    assert len(stepper.steps) == first + 1 and stepper.ids[-1] == third and stepper.max_new_tokens == 12
    monkeypatch.undo()
    assert TOKENIZER.special_tokens == special and end == special["</s>"]


def test_other_shapes_of_model_work_too():
    config = dataclasses.replace(TINY_LLAMA, vocab_size=CONFIG.vocab_size, n_heads=4, n_kv_heads=4, max_seq_len=64)
    stepper = KVCacheStepper(random_model(config), TOKENIZER, "The cat", 4)
    assert stepper.key_vectors.shape[:2] == (config.n_layers, 4) and stepper.difference[1].max() < 1e-5


# An edit of the prompt ----------------------------------------------------------------------------------------------

LONG = "The cat was tired because the cat was old"
CHANGED = "The cat was tired because the dog was old"


def fresh(ids):
    """Keys and values (L, G, T, d) of one pass over the tokens, and logits (T, V): no cache, no widget."""
    with torch.inference_mode(), trace.record(MODEL) as seen:
        logits = MODEL(torch.tensor([ids]))[0]
    layers = range(CONFIG.n_layers)
    return *(torch.stack([seen[f"blocks.{layer}.attention.{x}"][0] for layer in layers]) for x in "kv"), logits


def continued(text):
    """The token ids of a prompt and of its greedy continuation."""
    return ids_of(text) + [step.token for step in generate(MODEL, ids_of(text), N_NEW)]


@pytest.fixture(scope="module")
def edited():
    return KVCacheStepper(MODEL, TOKENIZER, LONG, N_NEW, edited=CHANGED)


def test_an_edit_keeps_the_columns_before_the_first_changed_token(edited):
    old, new = ids_of(LONG), ids_of(CHANGED)
    first = next(at for at, pair in enumerate(zip(old, new, strict=True)) if pair[0] != pair[1])
    assert 0 < first < len(new) - 1  # in the middle
    assert edited.n_kept == first and edited.n_prompt == len(new) and edited.ids == continued(CHANGED)
    assert edited.n_held == len(continued(LONG)) - 1
    assert "".join(edited.labels_before) == "<s>" + TOKENIZER.decode(continued(LONG)[1:-1])


def test_kept_rows_are_those_of_a_fresh_run_and_later_ones_differ(edited):
    old, new = ids_of(LONG), ids_of(CHANGED)
    first = edited.n_kept
    for vectors, now, then in zip((edited.key_vectors, edited.value_vectors), fresh(new), fresh(old), strict=False):
        np.testing.assert_allclose(vectors[:, :, : len(new)], now, rtol=1e-4, atol=3e-5)  # the fresh run's, all of them
        np.testing.assert_allclose(vectors[:, :, :first], then[:, :, :first], rtol=1e-4, atol=3e-5)  # and the old run's
        apart = np.abs(vectors[:, :, first : len(new)] - then[:, :, first:].numpy()).max(axis=(1, 3))  # (L, later)
        assert (apart[:, 0] > 0.05).all()  # the changed word, in every layer
        assert (apart[1:] > 0.01).all()  # words that stayed, from the second layer on
        same = [at for at in range(first + 1, len(new)) if old[at] == new[at]]
        assert same and (apart[0, [at - first for at in same]] < 1e-4).all()  # the first layer sees only the token


def test_moved_is_the_largest_change_of_a_column(edited):
    before = [x.numpy() for x in fresh(continued(LONG)[:-1])[:2]]
    after = [x.numpy() for x in fresh(continued(CHANGED)[:-1])[:2]]
    both = min(before[0].shape[2], after[0].shape[2])
    changes = [np.abs(a[:, :, :both] - b[:, :, :both]).max(-1) for a, b in zip(after, before, strict=True)]
    np.testing.assert_allclose(edited.moved[:, :, :both], np.maximum(*changes), atol=1e-4)
    assert (edited.moved[:, :, both:] == -1).all() and edited.moved.shape == edited.key_vectors.shape[:3]
    assert (edited.moved[:, :, : edited.n_kept] < 1e-4).all()


def test_an_edit_computes_the_rest_and_recomputing_computes_everything(edited):
    p, kept = edited.n_prompt, edited.n_kept
    assert edited.computed.tolist() == [list(range(p, p + N_NEW)), [p - kept] + [1] * (N_NEW - 1)]
    cache = KVCache(CONFIG, 1, p)
    with torch.inference_mode(), trace.record(MODEL, ["final"]):
        MODEL.hidden(torch.tensor([edited.ids[:kept]]), cache=cache)
        counts = []
        for tokens, held in ((edited.ids[:p], None), (edited.ids[kept:p], cache)):
            with FlopCounterMode(display=False) as counter:
                MODEL.head(MODEL.hidden(torch.tensor([tokens]), cache=held)[0, -1:])
            counts.append(counter.get_total_flops())
    assert edited.steps[0].flops == tuple(counts) and counts[1] < counts[0]
    logits = fresh(edited.ids[:-1])[2][p - 1 :]
    np.testing.assert_allclose(edited.logits[1], logits.topk(5).values, rtol=1e-4, atol=2e-4)
    assert edited.agree == [True] * N_NEW and edited.difference[1].max() < 1e-5
    assert 0 < edited.key_difference < 1e-5 * np.abs(edited.key_vectors).max()


def test_a_stale_column_would_give_other_logits(edited):
    """Why later columns cannot stay: with one more of the old columns the answer is not the model's."""
    old, new, kept = ids_of(LONG), ids_of(CHANGED), edited.n_kept
    cache = KVCache(CONFIG, 1, len(new))
    with torch.inference_mode():
        MODEL(torch.tensor([old[: kept + 1]]), cache=cache)
        wrong = MODEL(torch.tensor([new[kept + 1 :]]), cache=cache)[0, -1]
    assert (wrong - fresh(new)[2][-1]).abs().max() > 0.1


def test_an_edit_is_set_and_taken_back_from_python(stepper):
    before, whole = stepper.ids, repr(stepper)
    stepper.edited = "The dog was tired"
    held = len(before) - 1
    assert stepper.error == "" and stepper.step == 0 and stepper.n_kept == 2 and stepper.n_held == held
    assert repr(stepper).startswith(f"KVCacheStepper('The dog was tired', edited, 2 of {held} columns kept, ")
    stepper.max_new_tokens = 2
    assert len(stepper.steps) == 2 and stepper.n_held == stepper.n_prompt + 1
    stepper.max_new_tokens, stepper.edited = N_NEW, ""
    assert stepper.ids == before and repr(stepper) == whole and stepper.n_held == stepper.n_kept == 0
    stepper.edited = PROMPT  # nothing changed
    assert stepper.ids == before and stepper.n_held == 0
    stepper.edited = "A dog"
    stepper.prompt = "The bird"
    assert stepper.edited == "" and stepper.ids[: stepper.n_prompt] == ids_of("The bird") and stepper.n_held == 0


@pytest.mark.parametrize("text", ["The cat was", PROMPT + " and", "A"])
def test_edits_of_other_lengths_keep_what_both_begin_with(stepper, text):
    held = stepper.ids[:-1]
    stepper.edited = text
    new = ids_of(text)
    same = next((at for at, pair in enumerate(zip(new, held, strict=False)) if pair[0] != pair[1]), len(new))
    assert stepper.error == "" and stepper.n_kept == min(same, len(new) - 1)  # the last is run for its logits
    assert stepper.computed[1, 0] == len(new) - stepper.n_kept
    np.testing.assert_allclose(stepper.key_vectors, fresh(stepper.ids[:-1])[0], rtol=1e-4, atol=3e-5)


def test_a_prompt_that_goes_on_with_the_answer_keeps_its_columns_too(stepper):
    """As in a chat: what was generated is part of the next prompt, and its columns are there already."""
    stepper.edited = TOKENIZER.decode(stepper.ids[1:-1]) + " and"
    same = [a == b for a, b in zip(stepper.ids, continued(PROMPT), strict=False)]
    assert stepper.n_kept == same.index(False) >= len(ids_of(PROMPT)) + N_NEW - 2


def test_an_edit_that_does_not_fit_is_refused_and_the_picture_stays(stepper):
    before, revision = stepper.ids, stepper.revision
    stepper.edited = "cat " * 100
    assert "expected at most 48 together" in stepper.error and stepper.ids == before and stepper.revision == revision
    stepper.edited = ""
    assert stepper.error == ""
    with pytest.raises(ValueError, match="expected at most 48 together"):
        KVCacheStepper(MODEL, TOKENIZER, PROMPT, N_NEW, edited="cat " * 100)


def test_the_table_of_an_edit_says_what_becomes_of_each_column(edited):
    table = edited.tables()[2]
    kept, p, held = edited.n_kept, edited.n_prompt, edited.n_held
    fates = [row[3] for row in table.rows]
    assert fates == ["kept"] * kept + ["computed again"] * (p - kept) + ["dropped"] * (held - p)
    assert table.rows[kept][1:3] == ["·cat", "·dog"] and table.rows[0][4] == "0.00"
    assert (
        f"{kept} of {held} cached columns survive, {p - kept} keys are computed, without a cache {p}" in table.caption
    )
    status = edited.tables()[1].rows
    assert [row[1:] for row in status] == [["again", "kept"]] * kept + [["new", "new"]] * (p - kept)
    assert edited.tables()[0].rows[0][1] == "edit"


# Traits -------------------------------------------------------------------------------------------------------------


def test_the_first_view_is_the_whole_run(shared):
    assert shared.step == N_NEW - 1 and not shared.playing and not shared.busy and shared.error == ""


def test_stepping_and_choosing_runs_nothing(stepper):
    revision = stepper.revision
    stepper.step, stepper.layer, stepper.head, stepper.playing, stepper.predicting = 2, 3, 1, True, True
    stepper.guess, stepper.revealed, stepper.token = [7, 1], 2, 4
    assert stepper.revision == revision


@pytest.mark.parametrize("name, count", [("step", N_NEW), ("layer", CONFIG.n_layers), ("head", CONFIG.n_kv_heads)])
def test_choices_out_of_range_are_refused(stepper, name, count):
    for value in (-1, count):
        with pytest.raises(traitlets.TraitError, match=f"expected a {name} from 0 to {count - 1}, got {value}"):
            setattr(stepper, name, value)


def test_a_new_prompt_reruns_both_lanes(stepper):
    revision, before = stepper.revision, stepper.key_vectors
    stepper.step = 2
    stepper.prompt = "The dog"
    assert stepper.ids[: stepper.n_prompt] == ids_of("The dog") and stepper.revision == revision + 1
    assert stepper.key_vectors.shape != before.shape and stepper.step == len(stepper.steps) - 1
    stepper.max_new_tokens = 2
    assert len(stepper.steps) == 2 and stepper.computed.shape == (2, 2) and stepper.step == 1


def test_what_does_not_fit_is_refused_and_the_picture_stays(stepper):
    before, revision = stepper.ids, stepper.revision
    stepper.prompt = "cat " * 100
    assert "expected at most 48 together" in stepper.error and stepper.ids == before
    assert stepper.revision == revision and not stepper.busy
    stepper.prompt = "The dog"
    assert stepper.error == ""
    stepper.max_new_tokens = 0
    assert stepper.error == "expected max_new_tokens of at least 1, got 0"
    with pytest.raises(ValueError, match="6 tokens and 43 are to follow; expected at most 48 together"):
        KVCacheStepper(MODEL, TOKENIZER, "The capital of France is", 43)
    assert len(KVCacheStepper(MODEL, TOKENIZER, "The capital of France is", 42).ids) == 48


def test_a_model_in_training_mode_or_with_a_small_vocabulary_is_refused():
    with pytest.raises(ValueError, match=r"training mode.*model\.eval\(\)"):
        KVCacheStepper(random_model(TINY_LLAMA).train(), TOKENIZER, "The cat", 2)
    with pytest.raises(ValueError, match=f"the model knows {TINY_LLAMA.vocab_size} tokens"):
        KVCacheStepper(random_model(TINY_LLAMA), TOKENIZER, "The cat", 2)


def test_special_tokens_cannot_be_typed(stepper):
    stepper.prompt = "a</s>b"
    assert TOKENIZER.special_tokens["</s>"] not in stepper.ids[: stepper.n_prompt]


def test_an_empty_prompt_begins_with_the_start_of_the_text(stepper):
    stepper.prompt = ""
    assert stepper.error == "" and stepper.n_prompt == 1 and stepper.computed[1].tolist() == [1] * len(stepper.steps)


# As text ------------------------------------------------------------------------------------------------------------


def test_repr_and_fallback_are_the_same_on_every_run_and_hold_no_times():
    one, two = (KVCacheStepper(MODEL, TOKENIZER, PROMPT, N_NEW) for _ in range(2))
    assert repr(one) == repr(two) and one.fallback_html() == two.fallback_html()
    p, n = len(ids_of(PROMPT)), N_NEW
    counts = f"keys computed {n * (2 * p + n - 1) // 2} without a cache, {p + n - 1} with one"
    assert repr(one) == f"KVCacheStepper('{PROMPT}', 6 new tokens, {counts})"
    assert " ms" not in one.fallback_html() and "milliseconds" not in one.fallback_html()


def test_the_tables_say_what_the_picture_shows(stepper):
    stepper.step = 2
    run, status = stepper.tables()
    assert len(run.rows) == N_NEW + 1 and all(len(row) == len(run.columns) for row in run.rows)
    assert run.rows[-1][2:4] == [str(int(stepper.computed[lane].sum())) for lane in (0, 1)]
    assert [row[1] for row in run.rows[:2]] == ["prefill", "decode"] and run.rows[0][2] == run.rows[0][3]
    assert [row[1:] for row in status.rows] == [["again", "kept"]] * (stepper.n_prompt + 1) + [["new", "new"]]
    stepper.step = 0
    assert {tuple(row[1:]) for row in stepper.tables()[1].rows} == {("new", "new")}


def test_without_a_kernel_the_text_is_escaped(stepper):
    stepper.prompt = "<b>bold</b>"
    bundle, _ = stepper._repr_mimebundle_()
    assert "<b>" not in bundle["text/html"] and "&lt;b&gt;bold&lt;/b&gt;" in bundle["text/html"]
    assert bundle["text/plain"] == repr(stepper)


@pytest.mark.parametrize(
    "value, base, unit, text",
    [(0, 1000, "FLOP", "0 FLOP"), (999, 1000, "FLOP", "999 FLOP"), (10**6, 1000, "FLOP", "1.00 MFLOP"),
     (46_300_000, 1000, "FLOP", "46.3 MFLOP"), (18432, 1024, "B", "18.0 KiB"), (2**20, 1024, "B", "1.00 MiB")],
)  # fmt: skip
def test_numbers_have_three_digits_and_units(value, base, unit, text):
    assert _with_unit(value, base, unit) == text
