"""Head sharing in Python: bytes against a real cache, wires against `repeat_kv`, what is recorded and measured."""

import dataclasses

import pytest
import torch
import traitlets
from models import TINY_GPT2, TINY_LLAMA

from llmlab import checkpoint, costs, data_path, studies
from llmlab.attention import fused_attention, repeat_kv, scaled_dot_product_attention
from llmlab.config import ModelConfig
from llmlab.kv_cache import KVCache
from llmlab.published import OUTLINES, PUBLISHED
from llmlab.transformer import Transformer
from llmlab.widgets import gqa, gqa_steps
from llmlab.widgets.costs import GIB, GIVEN, SHIPPED
from llmlab.widgets.gqa import HeadSharing
from llmlab.widgets.gqa_steps import LABORATORY, LATENTS, SIBLING, timed

MIB = 2**20


def step(widget, label):
    """The row of the table of steps that begins with this label."""
    return next(row for row in widget.tables()[0].rows if row[0].split(",")[0] == label)


def test_the_first_view_is_a_model_whose_own_context_fits_because_its_heads_share():
    """Llama 3, table 3: 32 layers, 32 heads of 128, 8 kv heads; 2 bytes a number."""
    widget = HeadSharing()
    assert (widget.model_name, widget.n_kv_heads, widget.context) == ("Llama-3.1-8B", 8, 131_072)
    assert widget.cache_bytes_per_token == 2 * 32 * 8 * 128 * 2 == 128 * 1024
    assert widget.cache_bytes == 16 * GIB and widget.weight_bytes == 2 * 8_030_261_248 and widget.fits
    assert not HeadSharing(n_kv_heads=32).fits  # with a kv head for each it would not


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("n_kv_heads", [4, 2, 1])
def test_bytes_equal_a_real_caches_own(dtype, n_kv_heads):
    widget = HeadSharing(TINY_LLAMA, n_kv_heads=n_kv_heads, context=50, dtype=dtype)
    fields = TINY_LLAMA.to_dict() | {"n_kv_heads": n_kv_heads}
    config = ModelConfig.from_dict(fields)
    assert widget.cache_bytes == KVCache(config, 1, 50, dtype=getattr(torch, dtype)).nbytes
    made = Transformer(config).to(torch.float16)
    assert HeadSharing(TINY_LLAMA, n_kv_heads=n_kv_heads).weight_bytes == sum(one.nbytes for one in made.parameters())


@pytest.mark.parametrize("name", ["GPT-2 XL", "Llama-2-70B", "Qwen2-7B", "Mixtral-8x22B", "Phi-4", SHIPPED])
def test_published_models_cost_what_costs_says(name):
    widget = HeadSharing(name, dtype="int4", context=999)
    config = PUBLISHED[name].config if name in PUBLISHED else None
    if config is not None:
        assert widget.cache_bytes == costs.kv_cache_bytes(config, 999, dtype="int4")
        assert widget.weight_bytes == costs.weight_bytes(config, "int4")
        assert widget.largest_context == costs.largest_context(
            config, widget.memory_bytes, weight_dtype="int4", cache_dtype="int4"
        )
    else:
        assert (widget.n_kv_heads, widget.numbers_per_token) == (2, 2 * 2 * 32)


@pytest.mark.parametrize("memory,context", [(16 * GIB, 4096), (17 * GIB, 8192), (80 * GIB, 10**6)])
def test_the_longest_context_fits_and_one_token_more_does_not(memory, context):
    widget = HeadSharing("Mistral-7B-v0.1", memory_bytes=memory, context=context)
    left, token = memory - widget.weight_bytes, widget.cache_bytes_per_token
    assert widget.largest_context * token <= left < (widget.largest_context + 1) * token
    assert widget.fits == (context <= widget.largest_context)


# Latents ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LATENTS)
def test_deepseeks_latent_is_what_its_paper_says(name):
    """DeepSeek-V2, section 3.1.2: 128 heads of 128, a latent of 512 and a rotated key of 64 in each layer. Its table 1
    calls this as much as GQA with 2.25 groups."""
    widget = HeadSharing(name)
    n_layers = {"DeepSeek-V2": 60, "DeepSeek-V3": 61}[name]
    assert widget.attention == "mla" and widget.numbers_per_token == 512 + 64 == 2.25 * 2 * 128
    assert widget.cache_bytes_per_token == 2 * n_layers * (512 + 64)
    assert widget.weight_bytes == 2 * OUTLINES[name].n_parameters
    assert widget.cache_bytes == costs.rolling_cache_bytes(OUTLINES[name].cache, widget.context, dtype="bfloat16")
    row = step(widget, "MLA")
    assert row[0] == "MLA, its own" and row[1] == "576"
    assert HeadSharing(name, n_kv_heads=128).numbers_per_token == 2 * 128 * 128


def test_a_latent_of_another_model_has_deepseeks_proportions():
    """4 · head_dim and head_dim / 2: 4.5 head_dim, where each kv head takes 2."""
    widget = HeadSharing(LABORATORY, attention="mla")
    assert widget.numbers_per_token == 4 * 16 + 8 == 72
    assert widget.cache_bytes_per_token == 2 * 3 * 72
    d, d_model, n_heads, latent, rope = 16, 96, 8, 64, 8
    own = n_heads * (d + rope) * d_model + (latent + rope) * d_model + latent  # queries; what is kept; the norm
    own += 2 * n_heads * d * latent + d_model * n_heads * d  # keys and values; the output
    multi_head = 4 * d_model * n_heads * d
    more = widget.weight_bytes // 2 - HeadSharing(LABORATORY).weight_bytes // 2
    assert more == 3 * (own - multi_head)


def test_a_given_model_with_a_latent_costs_what_its_own_cache_takes():
    config = ModelConfig(
        vocab_size=97, d_model=32, n_layers=2, n_heads=4, attention="mla", head_dim=8, kv_latent_dim=20, rope_head_dim=6
    )
    widget = HeadSharing(config, context=50, dtype="float32")
    assert (widget.attention, widget.numbers_per_token) == ("mla", 26) and repr(widget).split(", ")[1] == "MLA"
    assert widget.cache_bytes == KVCache(config, 1, 50).nbytes
    assert widget.weight_bytes == sum(one.nbytes for one in Transformer(config).parameters())
    widget.attention = "gqa"
    assert widget.n_kv_heads == 4 and widget.numbers_per_token == 2 * 4 * 8


@pytest.mark.parametrize("name", ["Qwen2-7B", "Qwen3-8B", "Mixtral-8x7B"])
def test_models_with_biases_norms_and_experts_have_a_latent_step(name):
    widget = HeadSharing(name, attention="mla")
    d = PUBLISHED[name].config.head_dim
    assert widget.numbers_per_token == 4 * d + d // 2


def test_without_rope_there_is_no_latent():
    widget = HeadSharing(TINY_GPT2)
    assert [row[0] for row in widget.tables()[0].rows] == ["MHA 4, its own", "GQA 2", "MQA 1"]
    with pytest.raises(
        traitlets.TraitError, match="expected attention of the given config to be one of gqa, got 'mla'"
    ):
        widget.attention = "mla"


# Wires --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_kv_heads", [32, 16, 8, 4, 2, 1])
def test_the_wires_are_those_of_repeat_kv(n_kv_heads):
    widget = HeadSharing("Llama-3.1-8B", n_kv_heads=n_kv_heads)
    numbered = torch.arange(n_kv_heads).view(1, n_kv_heads, 1, 1)  # each kv head holds its own number
    assert widget.reads == repeat_kv(numbered, 32)[0, :, 0, 0].tolist()
    widget.tiled = True
    assert widget.reads == numbered.repeat(1, 32 // n_kv_heads, 1, 1)[0, :, 0, 0].tolist()


def test_tiled_wires_change_what_heads_answer_and_not_the_shape():
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 8, 3, 4, generator=generator)
    k, v = torch.randn(2, 2, 2, 5, 4, generator=generator)
    widget = HeadSharing(LABORATORY, n_kv_heads=2)
    right = scaled_dot_product_attention(q, k[:, widget.reads], v[:, widget.reads])
    torch.testing.assert_close(right, fused_attention(q, k, v))
    trained = widget.reads
    widget.tiled = True
    wrong = scaled_dot_product_attention(q, k[:, widget.reads], v[:, widget.reads])
    same = [one == other for one, other in zip(trained, widget.reads, strict=True)]
    assert same == [True, False, True, False, False, True, False, True] and wrong.shape == right.shape
    for head in range(8):
        assert torch.allclose(right[:, head], wrong[:, head]) == same[head]
    assert widget.tables()[1].rows == [["0", "0, 2, 4, 6", "0, 1, 2, 3"], ["1", "1, 3, 5, 7", "4, 5, 6, 7"]]


# What is recorded, what is measured ---------------------------------------------------------------------------------


def test_quality_is_the_recorded_studys():
    recorded, widget = studies.load("kv_heads"), HeadSharing(LABORATORY)
    shown = {one["name"]: one for one in widget.study["settings"]}
    assert set(shown) == {name for name, runs in recorded.runs.items() if len(runs) > 1}
    assert {"8 kv heads", "2 kv heads", "1 kv head", "2 heads in all"} <= set(shown)
    assert [one["numbers"] for one in widget.study["settings"]] == sorted(
        (one["numbers"] for one in shown.values()), reverse=True
    )
    assert [shown[name]["numbers"] for name in ("8 kv heads", "1 kv head", "2 heads in all")] == [256, 32, 64]
    assert [row[0] for row in recorded.table().rows] == widget.study["measures"]
    for measure in widget.study["measures"]:
        widget.skill = measure
        rows = {row[0]: row[2:] for row in widget.tables()[2].rows}
        for name in shown:
            one = recorded.difference(name, measure)
            told = [f"{value:+.3f}".replace("-", "−") for value in (one.mean, one.low, one.high)]
            verdict = "compared with" if name == "8 kv heads" else one.verdict
            assert rows[name] == [f"{recorded.mean(name, measure).mean:.3f}", *told, verdict]


def with_latents():
    """The record with two more settings, their figures borrowed: what the widget does with what else is recorded."""
    recorded = studies.load("kv_heads")
    more = {
        "MLA, 32 numbers": {"attention": "mla", "kv_latent_dim": 24, "rope_head_dim": 8, "d_ff": 288},
        "MLA, 72 numbers": {"attention": "mla", "kv_latent_dim": 64, "rope_head_dim": 8, "d_ff": 239},
        "not run yet": {"n_kv_heads": 4},
    }
    kept = {name: changes for name, changes in recorded.study.settings.items() if name not in more}
    study = dataclasses.replace(recorded.study, settings={**kept, **more})
    borrowed = recorded.runs["2 kv heads"]
    runs = {**recorded.runs, "MLA, 32 numbers": borrowed, "MLA, 72 numbers": borrowed, "not run yet": {0: borrowed[0]}}
    return dataclasses.replace(recorded, study=study, runs=runs)


def test_whatever_else_is_recorded_is_shown(monkeypatch):
    found = with_latents()
    monkeypatch.setattr(gqa_steps.studies, "load", lambda name: found)
    rows = [row[:2] for row in HeadSharing(LABORATORY).tables()[2].rows]
    assert rows[:2] == [["8 kv heads", "256"], ["MLA, 72 numbers", "72"]]
    assert sorted(rows[2:4]) == [["2 heads in all", "64"], ["2 kv heads", "64"]]
    assert sorted(rows[4:]) == [["1 kv head", "32"], ["MLA, 32 numbers", "32"]]


def test_speed_is_nothing_before_it_is_measured_and_then_what_was_measured():
    widget = HeadSharing(TINY_LLAMA)
    assert widget.timing == {} and widget.tables()[3].rows == []
    assert "not measured" in widget.tables()[3].caption and "not measured" in widget.fallback_html()
    before = torch.get_rng_state()
    seconds = widget.measure(repeats=1)
    assert torch.equal(torch.get_rng_state(), before)  # later cells draw what they would have drawn
    assert list(seconds) == [4, 2, 1] and all(value > 0 for value in seconds.values())
    assert widget.timing["seconds"] == [[n, value] for n, value in seconds.items()]
    assert (widget.timing["model"], widget.timing["n_heads"], widget.timing["head_dim"]) == (GIVEN, 4, 8)
    assert [row[1] for row in widget.tables()[3].rows] == ["1.00", "0.500", "0.250"]  # 2·G·d numbers a key
    widget.model_name = "GPT-2"
    assert widget.tables()[3].caption.endswith(GIVEN)  # what was measured keeps its name


def test_what_is_timed_is_the_groups_heads_as_query_rows(monkeypatch):
    """The calls are those of attention as the package computes it: 4,096 keys, G heads of H / G rows each."""
    calls = []
    monkeypatch.setattr(
        gqa_steps.F,
        "scaled_dot_product_attention",
        lambda q, k, v: calls.append((q.shape, k.shape, v.shape, k.data_ptr())),
    )
    assert list(timed(6, 2, repeats=1)) == [6, 3, 2, 1]
    assert len(calls) == 2 * 4
    for q, k, v, _ in calls:
        assert k == v == (1, q[1], 4096, 2) and q[1] * q[2] == 6
    assert len({pointer for *_, pointer in calls}) == 1  # nothing is copied


def test_asking_from_the_browser_measures_and_a_failure_is_shown(monkeypatch):
    widget = HeadSharing(TINY_LLAMA)
    monkeypatch.setattr(gqa, "timed", lambda *sizes, repeats: {4: 0.004, 2: 0.002, 1: 0.001})
    widget.set_state({"asked": 1})
    assert widget.timing["seconds"] == [[4, 0.004], [2, 0.002], [1, 0.001]] and not widget.busy

    def fails(*sizes, repeats):
        raise RuntimeError("not enough memory")

    monkeypatch.setattr(gqa, "timed", fails)
    widget.set_state({"asked": 2})
    assert widget.error == "not enough memory" and widget.timing["seconds"][0] == [4, 0.004]


# Traits and texts ---------------------------------------------------------------------------------------------------


def test_the_models_to_choose_from():
    names = [shape["name"] for shape in HeadSharing().models]
    assert names == [SHIPPED, SIBLING, LABORATORY, *PUBLISHED, *LATENTS]
    assert HeadSharing(PUBLISHED["Qwen2-7B"].config).model_name == "Qwen2-7B"
    assert HeadSharing(TINY_LLAMA).models[-1 - len(LATENTS)]["name"] == GIVEN
    for name, file in ((SHIPPED, "model"), (SIBLING, "mha")):
        _, metadata = checkpoint.load_tensors(data_path(f"{file}.safetensors"))
        widget, config = HeadSharing(name), metadata["config"]
        assert (widget.n_kv_heads, widget.context) == (config["n_kv_heads"], config["max_seq_len"])
        assert widget.cache_bytes == 2 * config["n_layers"] * config["n_kv_heads"] * config["head_dim"] * 2 * 256


def test_another_model_brings_its_own_step_and_a_memory_of_its_size():
    widget = HeadSharing("Llama-3.1-8B", n_kv_heads=4, context=77)
    widget.head = 31
    widget.model_name = "GPT-2"
    assert (widget.n_kv_heads, widget.head, widget.context, widget.memory_bytes) == (12, 11, 77, 80 * GIB)
    widget.model_name = "DeepSeek-V2"
    assert (widget.attention, widget.memory_bytes) == ("mla", 640 * GIB)
    widget.model_name = SHIPPED
    assert (widget.attention, widget.n_kv_heads, widget.memory_bytes, widget.context) == ("gqa", 2, 16 * MIB, 256)
    widget.set_state({"model_name": "Llama-3-8B", "n_kv_heads": 2, "attention": "gqa", "head": 3})
    assert (widget.model_name, widget.n_kv_heads, widget.head) == ("Llama-3-8B", 2, 3)  # what the browser chose
    widget.set_state({"model_name": "DeepSeek-V3", "n_kv_heads": 128, "attention": "mla", "head": 127})
    assert (widget.attention, widget.head) == ("mla", 127)


def test_bad_values_are_named_and_change_nothing():
    widget = HeadSharing()
    for name, value, message in [
        ("model_name", "GPT-5", "no model 'GPT-5' here; there are the course's model, .*DeepSeek-V3"),
        ("n_kv_heads", 5, "expected n_kv_heads that divides the 32 heads, got 5"),
        ("n_kv_heads", 0, "expected n_kv_heads that divides the 32 heads, got 0"),
        ("head", 32, "expected head from 0 to 31, got 32"),
        ("context", 0, "expected context of 1 to 1,048,576, got 0"),
        ("memory_bytes", -1, "expected memory_bytes of 1 to 1,125,899,906,842,624, got -1"),
        ("skill", "taste", "expected skill of Llama-3.1-8B to be one of bits per byte, .*got 'taste'"),
        ("dtype", "fp8", "fp8"),
    ]:
        before = getattr(widget, name)
        with pytest.raises(traitlets.TraitError, match=message):
            setattr(widget, name, value)
        assert getattr(widget, name) == before
        with pytest.raises(traitlets.TraitError, match=message):
            HeadSharing(**{"config" if name == "model_name" else name: value})


def test_tables_and_repr_say_the_figures():
    widget = HeadSharing("Llama-2-7B", n_kv_heads=8, context=4096)
    assert repr(widget) == (
        "HeadSharing('Llama-2-7B', GQA 8, context=4096, memory_bytes=85899345920, dtype='bfloat16')"
    )
    steps = widget.tables()[0]
    assert steps.caption == "Llama-2-7B in bfloat16; now GQA 8"
    assert step(widget, "MHA 32")[:4] == ["MHA 32, its own", "8,192", "512 KiB", "2.00 GiB"]
    assert step(widget, "MQA 1")[:4] == ["MQA 1", "256", "16.0 KiB", "64.0 MiB"]
    widget.attention = "mla"
    assert widget.tables()[1].rows == [["latent of 512", "all 32"], ["RoPE key of 64", "all 32"]]
    assert widget.reads == list(range(32)) and repr(widget).startswith("HeadSharing('Llama-2-7B', MLA,")
    assert all(table.html() in widget.fallback_html() for table in widget.tables())


def test_heads_whose_half_is_odd_have_no_latent_step():
    widget = HeadSharing(ModelConfig(vocab_size=11, d_model=12, n_layers=1, n_heads=2, head_dim=6))
    assert [row[0] for row in widget.tables()[0].rows] == ["MHA 2, its own", "MQA 1"]


def test_a_model_with_one_head_has_one_step_and_a_latent():
    widget = HeadSharing(ModelConfig(vocab_size=11, d_model=8, n_layers=1, n_heads=1))
    assert [row[0] for row in widget.tables()[0].rows] == ["MHA 1, its own", "MLA"] and widget.head == 0
