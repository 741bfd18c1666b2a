"""The cost calculator in Python: its figures against the papers' formulas and a real cache, its traits, its tables."""

import dataclasses
from fractions import Fraction

import pytest
import torch
import traitlets
from models import TINY, TINY_LLAMA

from llmlab import load_model
from llmlab.config import ModelConfig
from llmlab.kv_cache import KVCache
from llmlab.published import PUBLISHED
from llmlab.transformer import Transformer
from llmlab.widgets.costs import GIB, GIVEN, SHIPPED, CostCalculator, count, significant, size

BYTES = {"float32": Fraction(4), "bfloat16": Fraction(2), "int8": Fraction(1), "int4": Fraction(1, 2)}


def llama_parameters(width, inner, layers, vocabulary, *, head=128, kv_heads):
    """Llama 2 (Touvron et al. 2023, section 2.2): SwiGLU of three matrices, RMSNorm twice a layer, head of its own."""
    attention = 2 * width * width + 2 * width * head * kv_heads
    return 2 * vocabulary * width + layers * (attention + 3 * width * inner + 2 * width) + width


def test_the_first_view_is_a_7b_model_whose_cache_is_five_times_its_weights():
    costs = CostCalculator()
    weights = 2 * llama_parameters(4096, 11008, 32, 32000, kv_heads=32)
    assert (costs.model_name, costs.batch_size, costs.context) == ("Llama-2-7B", 32, 4096)
    assert costs.weight_bytes == weights == 13_476_831_232
    assert costs.cache_bytes == 2 * 32 * 32 * 128 * 4096 * 32 * 2 == 64 * GIB
    assert 5.09 < costs.cache_bytes / costs.weight_bytes < 5.10
    assert costs.fits and not CostCalculator(batch_size=34).fits


def test_batch_32_with_2048_tokens_in_float32_takes_exactly_64_gib():
    costs = CostCalculator("Llama-2-7B", batch_size=32, context=2048, cache_dtype="float32")
    assert costs.config.n_layers == 32 and costs.config.d_model == 4096
    assert costs.cache_bytes == 64 * 2**30


@pytest.mark.parametrize("cache_dtype", ["float32", "bfloat16", "int8"])
def test_cache_bytes_equal_a_real_caches_own(cache_dtype):
    costs = CostCalculator(TINY_LLAMA, batch_size=3, context=50, cache_dtype=cache_dtype)
    assert costs.cache_bytes == KVCache(TINY_LLAMA, 3, 50, dtype=getattr(torch, cache_dtype)).nbytes


@pytest.mark.parametrize("name", TINY)
def test_parameters_and_weight_bytes_equal_a_real_models(name):
    model = Transformer(TINY[name])
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    costs = CostCalculator(TINY[name], weight_dtype="float32")
    assert costs.n_parameters == n_parameters
    assert costs.weight_bytes == sum(parameter.nbytes for parameter in model.parameters())
    costs.weight_dtype = "int4"
    assert costs.weight_bytes == (n_parameters + 1) // 2


@pytest.mark.parametrize("kv_heads", [1, 2, 4, 8, 16, 32])
@pytest.mark.parametrize("cache_dtype", BYTES)
def test_grouping_heads_divides_the_cache(kv_heads, cache_dtype):
    """Ainslie et al. 2023, section 2.2: with G groups the cache is G / H of multi-head attention's."""
    costs = CostCalculator("Llama-2-7B", cache_dtype=cache_dtype, n_kv_heads=kv_heads)
    assert costs.cache_bytes_per_token == 2 * 32 * kv_heads * 128 * BYTES[cache_dtype]
    assert costs.cache_bytes == 32 * 4096 * costs.cache_bytes_per_token
    assert costs.n_parameters == llama_parameters(4096, 11008, 32, 32000, kv_heads=kv_heads)


@pytest.mark.parametrize("batch,context,memory", [(1, 4096, 16), (8, 8192, 24), (64, 1000, 80), (3, 77, 5)])
def test_the_limits_fit_and_one_more_does_not(batch, context, memory):
    costs = CostCalculator("Mistral-7B-v0.1", batch_size=batch, context=context, memory_bytes=memory * GIB)
    weights, token = costs.weight_bytes, costs.cache_bytes_per_token
    most, rows = costs.largest_context, costs.largest_batch
    assert costs.fits == (weights + batch * context * token <= memory * GIB)
    if weights > memory * GIB:
        assert (most, rows, costs.fits) == (0, 0, False)
    else:
        assert weights + batch * most * token <= memory * GIB < weights + batch * (most + 1) * token
        assert weights + rows * context * token <= memory * GIB < weights + (rows + 1) * context * token
    first = costs.context_where_cache_outweighs_weights
    assert batch * (first - 1) * token <= weights < batch * first * token


def test_what_the_browser_gets_gives_every_count_of_kv_heads():
    """A count is the parameters with one kv head plus an even step for each more; checked on models that were made."""
    for name, config in TINY.items():
        shape = next(shape for shape in CostCalculator(config).models if shape["name"] == GIVEN)
        for n_kv_heads in (n for n in range(1, config.n_heads + 1) if config.n_heads % n == 0):
            with torch.device("meta"):
                model = Transformer(dataclasses.replace(config, n_kv_heads=n_kv_heads))
            told = sum(n for _, n in shape["parts"]) + shape["per_kv_head"] * (n_kv_heads - 1)
            assert told == sum(parameter.numel() for parameter in model.parameters()), (name, n_kv_heads)


def test_the_models_to_choose_from_are_the_published_ones_the_shipped_one_and_the_given_one():
    assert [shape["name"] for shape in CostCalculator().models] == [*PUBLISHED, SHIPPED]
    config = load_model()[0].config
    assert CostCalculator(config).model_name == SHIPPED and CostCalculator(SHIPPED).config == config
    assert CostCalculator(SHIPPED).context == config.max_seq_len  # not more than it is made for
    given = CostCalculator(TINY_LLAMA)
    assert given.model_name == GIVEN and given.config == TINY_LLAMA and given.models[-1]["name"] == GIVEN
    assert CostCalculator(PUBLISHED["Qwen2-7B"].config).model_name == "Qwen2-7B"


def test_another_model_brings_its_own_kv_heads():
    costs = CostCalculator("Llama-2-7B", n_kv_heads=4)
    costs.model_name = "GPT-2"
    assert costs.n_kv_heads == 12
    costs.set_state(
        {"model_name": "Llama-3-8B", "n_kv_heads": 2}
    )  # what a browser sends that was faster than the kernel
    assert (costs.model_name, costs.n_kv_heads) == ("Llama-3-8B", 2)


def test_bad_values_are_named_and_change_nothing():
    with pytest.raises(traitlets.TraitError, match=r"no model 'GPT-5' here; .* GPT-2, .*, Mixtral-8x22B, the course's"):
        CostCalculator("GPT-5")
    costs = CostCalculator()
    for name, value, message in [
        ("batch_size", 0, "expected batch_size of 1 to 1,024, got 0"),
        ("context", 2**20 + 1, "expected context of 1 to 1,048,576, got 1,048,577"),
        ("memory_bytes", -5, "expected memory_bytes of 1 to 1,125,899,906,842,624, got -5"),
        ("n_kv_heads", 3, "expected n_kv_heads that divides the 32 heads, got 3"),
        ("n_kv_heads", 10**5000, "heads, got about 2\\^16610"),  # 5000 / log10(2) = 16609.6
        ("batch_size", -(10**5000), "1,024, got about -2\\^16610"),
        ("context", 1.5, "'context' trait of a CostCalculator instance expected an int, not the float 1.5"),
        ("weight_dtype", "fp8", "expected any of .*'int4'.*, not the str 'fp8'"),
        ("model_name", "Lama", "no model 'Lama' here"),
    ]:
        before = getattr(costs, name)
        with pytest.raises(traitlets.TraitError, match=message):
            setattr(costs, name, value)
        assert getattr(costs, name) == before
        if name != "model_name":
            with pytest.raises(traitlets.TraitError, match=message):
                CostCalculator(**{name: value})


def test_tables_say_the_figures():
    costs = CostCalculator("Llama-3-8B", batch_size=1, context=8192, memory_bytes=16 * GIB)
    parameters, memory, limits = costs.tables()
    assert parameters.rows[-1] == ["all", "8,030,261,248", "100 %"]
    assert sum(int(n.replace(",", "")) for _, n, _ in parameters.rows[:-1]) == 8_030_261_248
    assert memory.caption == "Memory for 1 row of 8,192 tokens"
    assert ["cache", "1.00 GiB", "1,073,741,824"] in memory.rows
    assert memory.rows[-1] == ["left", "43.5 MiB", f"{16 * GIB - GIB - 2 * 8_030_261_248:,}"]
    assert limits.rows[0] == ["most tokens in the one row", "8,539"]
    costs.batch_size = 2
    assert costs.tables()[1].rows[-1][:2] == ["too much", "981 MiB"] and not costs.fits
    assert all(table.html() in costs.fallback_html() for table in costs.tables())


def test_repr_is_short_and_the_same_every_time():
    assert repr(CostCalculator("GPT-2", batch_size=2)) == (
        "CostCalculator('GPT-2', batch_size=2, context=1024, weight_dtype='bfloat16', cache_dtype='bfloat16', "
        "n_kv_heads=12, memory_bytes=85899345920)"
    )


def test_sizes_are_in_binary_units_with_three_digits():
    assert size(0) == "0 bytes" and size(999) == "999 bytes"
    assert size(1000) == "0.977 KiB"
    assert size(64 * GIB) == "64.0 GiB" and size(100 * GIB) == "100 GiB"
    assert size(GIB + GIB // 8) == "1.13 GiB"  # 1.125: a half goes up
    assert significant(0.0005) == "<0.001" and significant(0) == "0" and significant(1e-2) == "0.0100"
    assert count(1, "row") == "1 row" and count(4096, "token") == "4,096 tokens"


def test_a_model_with_one_head_has_one_choice():
    costs = CostCalculator(ModelConfig(vocab_size=11, d_model=8, n_layers=1, n_heads=1))
    assert costs.models[-1]["per_kv_head"] == 0 and costs.n_kv_heads == 1
