"""The benchmarks run, compare equal work, and judge their own goals. No test asserts a time."""

from dataclasses import replace

import pytest
import torch

from llmlab import bench, linear
from llmlab.bench import dashboard, decoding, generation, quantization, tokenization, training
from llmlab.cli import main


def test_a_goal_that_is_missed_is_said_and_fails_the_command(monkeypatch, capsys):
    rows = [bench.Row("fast enough", 3.0, 1.0, "tok/s", ">= 2×", True), bench.Row("just a figure", 1.0, 2.0, "ms")]
    monkeypatch.setattr(training, "benchmark", lambda: iter(rows))
    assert main(["bench", "training"]) == 0
    assert "3.00×" in capsys.readouterr().out
    rows.append(bench.Row("too slow", 1.0, 2.0, "tok/s", ">= 1×", False))
    assert main(["bench", "training"]) == 1
    assert "NOT met" in capsys.readouterr().out


def test_an_unknown_benchmark_is_refused(capsys):
    assert main(["bench", "speling"]) == 1
    assert (
        "expected names of tokenization, generation, decoding, training, dashboard, quantization; got speling"
        in capsys.readouterr().err
    )


def test_functions_take_turns():
    calls = []
    bench.alternate(lambda: calls.append("a"), lambda: calls.append("b"), repeats=2)
    assert calls == ["a", "b"] * 3  # one unmeasured turn


def test_tokenization_rows(monkeypatch):
    monkeypatch.setattr(tokenization, "TRAIN_BYTES", 4_000)
    monkeypatch.setattr(tokenization, "VOCAB_SIZE", 300)
    monkeypatch.setattr(tokenization, "ENCODE_BYTES", 10_000)
    rows = list(tokenization.benchmark())
    assert all(row.ours > 0 and row.theirs > 0 for row in rows)
    assert [row.what.split(", ")[-1] for row in rows[1:]] == [
        *[f"world text: {name}" for name in ("tokenizers", "tokenizers", "tiktoken", "tiktoken")],
        *[
            f"{text}: {name}"
            for text in ("words that hardly repeat", "mixed scripts")
            for name in ("tokenizers", "tiktoken")
        ],
    ]
    assert sum(row.met is not None for row in rows) == 1 + len(tokenization.BOUNDS)  # every bound is held against a row


def test_the_texts_of_the_tokenization_rows_are_what_they_are_called():
    for write in (tokenization.world_text, tokenization.invented_words, tokenization.mixed_scripts):
        text = write(200_000)
        assert 199_997 <= len(text.encode()) <= 200_000 and write(200_000) == text
    words = tokenization.invented_words(200_000).split(" ")
    assert len(set(words)) > 0.8 * len(words) and all(word.isascii() and word.isalpha() for word in words)
    again = tokenization.world_text(200_000).split(" ")
    assert len(set(again)) < 0.2 * len(again)
    assert len({word[0] for word in tokenization.mixed_scripts(200_000).split(" ")}) > 1_000


def test_generation_compares_the_same_tokens(monkeypatch):
    shape = {**generation.SIZES["3 M"], "num_hidden_layers": 1, "vocab_size": 300}
    monkeypatch.setattr(generation, "SIZES", {"3 M": shape})
    monkeypatch.setattr(generation, "NEW", 4)
    monkeypatch.setattr(generation, "NUMBERS", 1000)
    monkeypatch.setattr(generation, "ROWS", ())
    (row,) = generation.benchmark()
    assert row.unit == "tok/s" and row.ours > 0
    ours, theirs = generation.same_models(shape)
    theirs.model.norm.weight.data.mul_(-1)  # other weights, so other tokens
    monkeypatch.setattr(generation, "same_models", lambda shape: (ours, theirs))
    with pytest.raises(AssertionError, match="generate different tokens"):
        list(generation.benchmark())


def test_both_kernels_are_shown_for_one_to_sixteen_rows_with_the_one_that_is_taken(monkeypatch):
    monkeypatch.setattr(linear, "SHAPE", (64, 32))
    for taken in ("plain", "blocks"):
        monkeypatch.setenv(linear.PIN, taken)
        rows = list(generation.kernels())
        assert [row.what.split()[2] for row in rows] == ["1", "2", "4", "8", "16"]
        assert all(f"({taken} is taken)" in row.what and row.ours > 0 and row.theirs > 0 for row in rows)


def test_decoding_shows_time_and_bytes_of_each_way_to_keep_less(monkeypatch):
    monkeypatch.setattr(decoding, "SHAPE", replace(decoding.SHAPE, d_model=32, n_heads=4, n_kv_heads=4, head_dim=8))
    monkeypatch.setattr(decoding, "CONTEXTS", (50,))
    rows = list(decoding.benchmark())
    names = ["4 kv heads", "2 kv heads", "1 kv head", "latents"]
    assert [row.what for row in rows[::2]] == [f"a step after 50 tokens, {name}: 4 kv heads" for name in names]
    assert all(row.ours > 0 and row.met is None for row in rows)
    weights = [4 * 32 * 32, 3 * 32 * 32, 2.5 * 32 * 32, 32 * 48 + 32 * 36 + 2 * 32 * 32 + 32 * 32]  # q, k and v, o
    kept = [2 * 32, 2 * 16, 2 * 8, 32 + 4]  # of a token: a latent of 4 heads' width, half a head for RoPE
    assert [row.ours * 1e6 for row in rows[1::2]] == pytest.approx(
        [4 * (w + 50 * k) for w, k in zip(weights, kept, strict=True)]
    )


def test_a_timed_step_is_the_layer_after_its_context_and_leaves_the_cache_as_it_was():
    for config in decoding.variants(decoding.SHAPE).values():
        run = decoding.step(config, 20)
        first = run()
        assert first.shape == (1, 1, 512) and torch.equal(run(), first)


def test_the_plain_gpt_has_the_same_parameters_and_its_own_logits_are_ours(monkeypatch):
    """The yardstick of the training step is the same function of the same weights."""
    ours, plain = training.new_model(training.SHAPE), training.PlainGPT(training.SHAPE)
    assert sum(p.numel() for p in plain.parameters()) == sum(p.numel() for p in ours.parameters())
    with torch.no_grad():
        plain.embedding.weight.copy_(ours.embedding.weight)
        plain.positions.weight.copy_(ours.position_embedding.weight)
        for mine, theirs in zip(ours.blocks, plain.blocks, strict=True):
            attention = mine.attention
            theirs.qkv.weight.copy_(torch.cat([getattr(attention, f"{x}_proj").weight for x in "qkv"]))
            theirs.qkv.bias.zero_()
            for a, b in ((theirs.out, attention.o_proj), (theirs.up, mine.ffn.up), (theirs.down, mine.ffn.down)):
                a.load_state_dict(b.state_dict())
        tokens = torch.randint(training.SHAPE.vocab_size, (1, 9))
        torch.testing.assert_close(plain(tokens), ours(tokens), rtol=1e-4, atol=1e-5)


def test_the_dashboard_row_times_every_call_of_a_run(monkeypatch):
    monkeypatch.setattr(dashboard, "STEPS", dict.fromkeys(dashboard.STEPS, 1))
    rows = list(dashboard.benchmark())
    assert len(rows) == 2 and all(0 < row.ours < row.theirs and row.met is not None for row in rows)
    assert all(row.what.endswith("in 1 steps") for row in rows)


@pytest.fixture
def small_stacks(monkeypatch):
    """Two layers of 128 × 128, which any machine runs in no time."""
    for name, value in {"WIDTH": 128, "LAYERS": 2, "TOKENS": (1, 5), "REPEATS": 2}.items():
        monkeypatch.setattr(quantization, name, value)


def test_quantization_shows_time_and_bytes_of_each_kind_of_layer(small_stacks, capsys):
    assert main(["bench", "quantization"]) == 0
    out = capsys.readouterr().out
    assert [line.split(":")[0] for line in out.splitlines() if ": float32" in line] == [
        f"{tokens}, {kind}" for tokens in ("1 token", "5 tokens") for kind in quantization.KINDS if kind != "float32"
    ]
    assert out.count("bytes read") == 8 or "not here" in out


def test_what_a_pass_reads_is_the_bytes_of_its_weights_and_scales():
    rows = quantization.measure((1, 3), repeats=1, width=256, n_layers=3)
    assert [(row.n_tokens, row.kind) for row in rows] == [(n, kind) for n in (1, 3) for kind in quantization.KINDS]
    n = 256 * 256
    groups = n // 128  # each with a scale and a zero of two bytes
    each = {"float32": 4 * n, "bfloat16": 2 * n, "int8 weight-only": n + 2 * 256, "int8 dynamic": n + 4 * 256}
    each["int4 weight-only"] = n // 2 + 4 * groups
    for row in rows:
        assert row.n_weights == 3 * n
        if row.seconds is not None:
            assert row.bytes_read == 3 * each[row.kind] and row.fewer_bytes == 4 * n / each[row.kind]
            assert row.read_per_second == row.bytes_read / row.seconds and row.seconds > 0
            assert row.operations_per_second == 2 * 3 * n * row.n_tokens / row.seconds


def test_each_stack_has_memory_of_its_own_and_computes_the_same_function(monkeypatch):
    made = quantization.stacks(128, 3)
    x = torch.randn(4, 128, generator=torch.Generator().manual_seed(1))
    wanted = made["float32"][0](x)
    for kind, layers in made.items():
        if isinstance(layers, str):
            continue
        places = {each.data_ptr() for layer in layers for each in (*layer.parameters(), *layer.buffers())}
        assert len(places) >= 3 and len({id(layer) for layer in layers}) == 3
        assert ((layers[2](x.to(quantization.KINDS[kind][1])) - wanted).norm() / wanted.norm()) < 0.2, kind


def test_a_kernel_that_is_missing_or_too_slow_is_a_row_and_no_crash(small_stacks, monkeypatch, capsys):
    none = {quantization.Int4Linear: "no such kernel"}
    monkeypatch.setattr(quantization, "missing", lambda layer: none.get(layer, ""))
    rows = quantization.measure((2,), repeats=1, width=128, n_layers=1)
    lacking = [row for row in rows if row.seconds is None]
    assert [(row.kind, row.speedup, row.read_per_second) for row in lacking] == [("int4 weight-only", None, None)]
    assert "not here: no such kernel" in quantization.table(rows)
    assert main(["bench", "quantization"]) == 0
    assert "2 tokens" not in (out := capsys.readouterr().out) and out.count("(not here: no such kernel)") == 2
    monkeypatch.setattr(quantization, "PATIENCE", -1.0)
    rows = quantization.measure((2,), repeats=1, width=128, n_layers=1)
    assert [row.seconds is None for row in rows] == [False, True, True, True, True]  # float32 is what is compared with
    assert "only a substitute" in quantization.table(rows)


def test_the_table_has_a_line_for_each_pass():
    one = quantization.Pass("float32", 1, 1000, 4000, 0.001, 1.0, 1.0)
    other = quantization.Pass("int8 dynamic", 1, 1000, 1000, 0.0005, 2.0, 4.0)
    lines = quantization.table([one, other]).splitlines()
    assert len(lines) == 3 and "4.00×" in lines[2] and "2.00×" in lines[2] and " 0.50 " in lines[2]


def test_threads_are_as_before_after_a_measurement():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        quantization.measure((1,), repeats=1, width=128, n_layers=1)
        assert torch.get_num_threads() == 2
        quantization.measure((1,), repeats=1, width=128, n_layers=1, n_threads=None)
    finally:
        torch.set_num_threads(before)


def test_the_last_level_cache_is_what_the_system_tells(monkeypatch):
    size = quantization.last_level_cache()
    assert size is None or 2**17 <= size < 2**33
    told = type("Told", (), {"stdout": "4194304\n12582912\n"})
    monkeypatch.setattr(quantization.sys, "platform", "darwin")
    monkeypatch.setattr(quantization.subprocess, "run", lambda *_, **__: told)
    assert quantization.last_level_cache() == 12 * 2**20
