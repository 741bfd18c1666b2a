"""The rotator in Python: scores against the model's own, rotations against torch and transformers, curves by hand."""

import math
import re

import numpy as np
import pytest
import torch
import traitlets
from models import TINY_LLAMA
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

import llmlab
from llmlab import trace
from llmlab.rope import apply_rope, rope_frequencies
from llmlab.transformer import Transformer
from llmlab.widgets.base import FOLDER
from llmlab.widgets.rope import BASES, FACTORS, LONGEST, METHODS, REACH, RoPERotator, recorded

MODEL, TOKENIZER = llmlab.load_model()
D, LENGTH = MODEL.config.head_dim, MODEL.config.max_seq_len
SENTENCES = ("Anna had a dog. The dog", "Tom lives in Ashford. He has a cat", "4 + 3 = 7")


@pytest.fixture
def rotator():
    return RoPERotator()


def traced(text):
    ids = torch.tensor([[TOKENIZER.special_tokens["<s>"], *TOKENIZER.encode(text)]])
    names = [f"blocks.{layer}.attention.{name}" for layer in range(MODEL.config.n_layers) for name in ("q", "k")]
    names += [f"blocks.{layer}.attention.scores" for layer in range(MODEL.config.n_layers)]
    with torch.inference_mode(), trace.record(MODEL, names) as seen:
        MODEL(ids)
    return seen


def vectors(widget):
    """q and k of the two tokens before their rotation, (d,) float64 each."""
    q = torch.from_numpy(widget.q[widget.layer, widget.head, widget.query]).double()
    group = widget.head // (MODEL.config.n_heads // MODEL.config.n_kv_heads)
    return q, torch.from_numpy(widget.k[widget.layer, group, widget.key]).double()


def turned_by_pairs(x, position, theta, layout="half"):
    """One vector, turned pair by pair with a rotation matrix of two rows."""
    out, half = x.clone(), len(x) // 2
    for j in range(half):
        a, b = (j, j + half) if layout == "half" else (2 * j, 2 * j + 1)
        angle = position * theta ** (-2 * j / len(x))
        c, s = math.cos(angle), math.sin(angle)
        out[a], out[b] = c * x[a] - s * x[b], s * x[a] + c * x[b]
    return out


# What is recorded ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", SENTENCES)
def test_queries_and_keys_are_the_model_s_own_before_rotation(text):
    widget, seen = RoPERotator(text=text), traced(text)
    positions, freqs = torch.arange(len(widget.tokens)), rope_frequencies(D, MODEL.config.rope_theta)
    for layer in range(MODEL.config.n_layers):
        for name, own in (("q", widget.q), ("k", widget.k)):
            expected = seen[f"blocks.{layer}.attention.{name}"][0]  # after rotation
            torch.testing.assert_close(
                apply_rope(torch.from_numpy(own[layer]), positions, freqs), expected, rtol=1e-4, atol=1e-5
            )
            if layer == 0:  # the control: without the rotation they are others
                assert not torch.allclose(torch.from_numpy(own[layer]), expected, atol=0.1)
        torch.testing.assert_close(
            torch.from_numpy(widget.scores[layer]), seen[f"blocks.{layer}.attention.scores"][0], rtol=0, atol=0
        )


def test_queries_that_have_a_norm_are_recorded_after_it():
    config = TINY_LLAMA.__class__(**{**vars(TINY_LLAMA), "qk_norm": True})
    torch.manual_seed(0)
    model = Transformer(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    tokens = torch.tensor([[1, 5, 9, 2, 7]])
    q, k, scores = recorded(model, tokens)
    assert q.shape == (config.n_layers, config.n_heads, 5, config.head_dim)
    assert k.shape == (config.n_layers, config.n_kv_heads, 5, config.head_dim)
    with torch.inference_mode(), trace.record(model, ["blocks.1.attention.q", "blocks.1.attention.scores"]) as seen:
        model(tokens)
    turned = apply_rope(q[1], torch.arange(5), model.freqs, config.rope_layout)
    torch.testing.assert_close(turned, seen["blocks.1.attention.q"][0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scores[1], seen["blocks.1.attention.scores"][0], rtol=0, atol=0)


# The score ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", SENTENCES)
def test_the_score_at_home_is_the_model_s_own_in_every_head(text):
    widget = RoPERotator(text=text)
    for layer in range(MODEL.config.n_layers):
        for head in range(MODEL.config.n_heads):
            widget.layer, widget.head = layer, head
            for query, key in ((len(widget.tokens) - 1, 0), (4, 4), (4, 2)):
                widget.query, widget.key = query, key
                assert (widget.m, widget.n) == (query, key)
                assert widget.score == pytest.approx(widget.model_score, rel=1e-4, abs=1e-4)
                assert widget.curve[query - key] == pytest.approx(widget.model_score, rel=1e-4, abs=1e-4)


def test_the_weight_is_that_of_the_softmax(rotator):
    row = torch.from_numpy(rotator.scores[0, 1, 7, :8]).softmax(0)
    assert rotator.weight == pytest.approx(row[6].item(), abs=1e-6)
    rotator.key = 2
    assert rotator.weight == pytest.approx(row[2].item(), abs=1e-6)


@pytest.mark.parametrize("layout", ["half", "interleaved"])
@pytest.mark.parametrize("theta", [100.0, 10_000.0, 500_000.0])
def test_contributions_equal_rotations_pair_by_pair(rotator, theta, layout):
    rotator.theta, rotator.rope_layout = theta, layout
    q, k = vectors(rotator)
    for m, n in ((0, 0), (7, 6), (300, 12), (1023, 0), (1023, 1023)):
        rotator.n = 0
        rotator.m, rotator.n = m, n
        tq, tk = turned_by_pairs(q, m, theta, layout), turned_by_pairs(k, n, theta, layout)
        products = (tq * tk / math.sqrt(D)).tolist()
        half = D // 2
        pairs = [(j, j + half) if layout == "half" else (2 * j, 2 * j + 1) for j in range(half)]
        assert rotator.contributions == pytest.approx([products[a] + products[b] for a, b in pairs], abs=1e-3)
        assert rotator.score == pytest.approx((tq @ tk).item() / math.sqrt(D), abs=1e-3)


def test_moving_both_leaves_the_score_and_moving_one_changes_it(rotator):
    home = rotator.score
    for shift in (1, 100, 1000):
        rotator.m = 7 + shift
        assert abs(rotator.score - home) > 0.1
        rotator.n = 6 + shift
        assert rotator.score == pytest.approx(home, abs=1e-10)


def test_the_curve_is_the_score_at_each_distance(rotator):
    curve, q, k = rotator.curve, *vectors(rotator)
    assert curve.shape == (REACH,)
    turned = apply_rope(q.expand(REACH, D), torch.arange(REACH), rope_frequencies(D, 10_000.0))
    assert np.allclose(curve, (turned @ k / math.sqrt(D)).numpy(), atol=1e-3)
    for m, n in ((9, 3), (512, 200)):
        rotator.m, rotator.n = m, n
        assert rotator.score == pytest.approx(curve[m - n], abs=1e-10)


def test_what_the_first_view_says(rotator):
    assert (rotator.tokens[rotator.query], rotator.tokens[rotator.key]) == (" dog", " The")
    assert rotator.score == pytest.approx(5.127, abs=2e-3) and rotator.weight > 0.9
    assert rotator.curve[:LENGTH].argmax() == 1
    assert LENGTH + rotator.curve[LENGTH:].argmax() == 950 and rotator.curve[950] > 1.9 * rotator.curve[1]
    assert "1.2" in repr(rotator) and "score 5.13" in repr(rotator) and repr(RoPERotator()) == repr(rotator)


def test_the_other_layout_gives_another_score(rotator):
    home = rotator.score
    rotator.rope_layout = "interleaved"
    assert abs(rotator.score - home) > 1
    rotator.key = rotator.query
    right = rotator.model_score
    assert rotator.score == pytest.approx(right, abs=1e-4)  # at distance 0 no layout shows


# Frequencies --------------------------------------------------------------------------------------------------------


def told(method, factor):
    if method == "none":
        return {"rope_type": "default"}
    if method == "llama3":
        return {
            "rope_type": "llama3", "factor": float(factor), "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": LENGTH,
        }  # fmt: skip
    if method == "ntk":  # its dynamic type at `factor` times the length, from a factor of 1
        return {"rope_type": "dynamic", "factor": 1.0}
    if method == "yarn":
        return {"rope_type": "yarn", "factor": float(factor), "original_max_position_embeddings": LENGTH}
    return {"rope_type": "linear", "factor": float(factor)}


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("method", METHODS)
def test_scores_of_every_method_equal_transformers(rotator, method, factor):
    rotator.scaling, rotator.factor = method, factor
    q, k = vectors(rotator)
    for theta in BASES:
        rotator.theta = theta
        parameters = told(method, factor) | {"rope_theta": theta}
        config = LlamaConfig(
            hidden_size=D, num_attention_heads=1, max_position_embeddings=LENGTH, rope_parameters=parameters
        )
        most = factor * LENGTH - 1 if method == "ntk" else REACH - 1  # the last position tells the dynamic type
        positions = torch.tensor([[0, 1, 2, 17, 255, most]])
        cos, sin = LlamaRotaryEmbedding(config)(q.double().expand(1, 6, D), positions)
        theirs, last = apply_rotary_pos_emb(q.expand(1, 1, 6, D), k.expand(1, 1, 6, D), cos, sin)
        scores = (theirs @ last[..., :1, :].transpose(-1, -2)).flatten() / math.sqrt(D)  # the key at 0
        for at, score in zip(positions[0].tolist(), scores.tolist(), strict=True):
            if at < REACH:
                assert rotator.curve[at] == pytest.approx(score, rel=1e-3, abs=2e-3), (theta, at)


def test_only_yarn_multiplies_the_scores(rotator):
    for method in METHODS:
        rotator.scaling, rotator.factor = method, 8
        expected = (0.1 * math.log(8) + 1) ** 2 if method == "yarn" else 1
        assert rotator.curve[0] == pytest.approx(expected * RoPERotator().curve[0], rel=1e-5)
        assert ("scores × 1.459" in rotator.tables()[0].caption) == (method == "yarn")


def test_wavelengths_are_those_of_the_formula(rotator):
    expected = [2 * math.pi * 10_000 ** (2 * j / D) for j in range(D // 2)]
    assert rotator.wavelengths == pytest.approx(expected, rel=1e-5)
    rotator.scaling, rotator.factor = "linear", 8
    assert rotator.wavelengths == pytest.approx([8 * each for each in expected], rel=1e-5)
    rotator.scaling = "ntk"
    assert rotator.wavelengths[0] == pytest.approx(expected[0], rel=1e-5)
    assert rotator.wavelengths[-1] == pytest.approx(8 * expected[-1], rel=1e-5)


# Traits -------------------------------------------------------------------------------------------------------------


def test_one_that_is_moved_past_the_other_takes_it_along(rotator):
    rotator.n = 50
    assert (rotator.m, rotator.n) == (50, 50)
    rotator.m = 20
    assert (rotator.m, rotator.n) == (20, 20)
    rotator.key = 3
    assert (rotator.query, rotator.key, rotator.m, rotator.n) == (7, 3, 7, 3)
    rotator.query = 2
    assert (rotator.query, rotator.key, rotator.m, rotator.n) == (2, 2, 2, 2)
    rotator.key = 5
    assert (rotator.query, rotator.key, rotator.m, rotator.n) == (5, 5, 5, 5)
    rotator.m, rotator.n = 900, 800
    rotator.key = 1
    assert (rotator.m, rotator.n) == (5, 1)


def test_the_constructor_takes_tokens_and_positions():
    widget = RoPERotator(MODEL, TOKENIZER, query=4, key=1, m=507, n=500, scaling="ntk", factor=8, layer=3, head=5)
    assert (widget.query, widget.key, widget.m, widget.n) == (4, 1, 507, 500)
    assert (widget.layer, widget.head, widget.scaling, widget.factor) == (3, 5, "ntk", 8)


def test_several_traits_of_one_message_are_taken_over(rotator):
    rotator.set_state({"query": 5, "key": 2, "m": 5, "n": 2})
    assert (rotator.query, rotator.key, rotator.m, rotator.n, rotator.error) == (5, 2, 5, 2, "")
    rotator.set_state({"m": 700, "n": 699})
    assert (rotator.m, rotator.n, rotator.error) == (700, 699, "")
    rotator.set_state({"m": 3, "n": 2})
    assert (rotator.m, rotator.n, rotator.error) == (3, 2, "")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("layer", 6, "expected layer from 0 to 5, got 6"),
        ("head", -1, "expected head from 0 to 5, got −1"),
        ("query", 8, "expected query from 0 to 7, got 8"),
        ("pair", 16, "expected pair from −1 to 15, got 16"),
        ("theta", 12.0, "expected theta to be one of 100, 1,000, 10,000, 100,000, 500,000; got 12.0"),
        ("m", REACH, "m"),
        ("scaling", "stretch", "scaling"),
        ("factor", 3, "factor"),
        ("rope_layout", "odd", "rope_layout"),
    ],
)
def test_what_is_not_there_is_refused(rotator, name, value, said):
    before = getattr(rotator, name)
    with pytest.raises(traitlets.TraitError, match=re.escape(said)):
        setattr(rotator, name, value)
    assert getattr(rotator, name) == before


def test_another_sentence_is_read_and_a_wrong_one_is_said(rotator):
    rotator.m = 900
    rotator.text = "Tom has a cat"
    assert rotator.tokens[-1] == " cat" and rotator.error == ""
    last = len(rotator.tokens) - 1
    assert (rotator.query, rotator.key, rotator.m, rotator.n) == (last, last - 1, last, last - 1)
    assert rotator.score == pytest.approx(rotator.model_score, rel=1e-4, abs=1e-4)
    before = rotator.q
    for text in ("", "word " * 40):
        rotator.text = text
        assert rotator.error == f"expected a sentence of 1 to {LONGEST} tokens, got {len(TOKENIZER.encode(text))}"
        assert rotator.q is before
    rotator.text = "4 + 3"
    assert rotator.error == ""


def test_a_model_without_rope_is_refused():
    scaled = {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}
    for changes, said in (({"position": "learned"}, "position 'learned'"), (scaled, "with a scaling")):
        model = Transformer(TINY_LLAMA.__class__(**{**vars(TINY_LLAMA), **changes}))
        with pytest.raises(ValueError, match=said):
            RoPERotator(model, TOKENIZER)


# As text ------------------------------------------------------------------------------------------------------------


def test_the_tables_say_the_pairs_and_the_curve(rotator):
    rotator.m = 40
    pairs, curve = rotator.tables()
    assert [row[0] for row in pairs.rows] == [str(j) for j in range(D // 2)]
    assert [row[1] for row in pairs.rows][:2] == ["0, 16", "1, 17"]
    assert sum(float(row[7].replace("−", "-")) for row in pairs.rows) == pytest.approx(rotator.score, abs=0.01)
    assert pairs.rows[0][3] == f"{math.degrees(40) % 360:.1f}" and pairs.rows[0][2] == "6.28"
    shown = {int(row[0]): float(row[1].replace("−", "-")) for row in curve.rows}
    assert {0, 1, 34, 255, 256, 1023} <= shown.keys()
    assert all(score == pytest.approx(rotator.curve[at], abs=6e-4) for at, score in shown.items())
    assert [row[2] for row in curve.rows if row[0] in ("255", "256")] == ["yes", "no"]
    rotator.rope_layout = "interleaved"
    assert rotator.tables()[0].rows[1][1] == "2, 3"


def test_the_javascript_is_small_and_its_classes_are_its_own():
    text = (FOLDER / "rope.js").read_text(encoding="utf-8")
    assert len(text.encode()) <= 30_000
    styles = re.sub(r"/\*.*?\*/|\{[^}]*\}", "", (FOLDER / "rope.css").read_text(encoding="utf-8"), flags=re.DOTALL)
    classes = set(re.findall(r"\.([\w-]+)", styles))
    assert all(name.startswith("llmlab-") for name in classes)
    own = {name for name in classes if name.startswith("llmlab-rope-")}
    sides = {
        "llmlab-rope-m",
        "llmlab-rope-n",
        *(f"llmlab-rope-{part}-{side}" for part in ("hand", "end") for side in "mn"),
    }
    assert sides <= own and [name for name in own - sides if name not in text] == []  # no rule is left over
