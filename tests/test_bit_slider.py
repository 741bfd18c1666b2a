"""The bit slider in Python: codes, errors and costs against PyTorch and loops, bytes against packed models, answers."""

import math
import re

import pytest
import torch
import traitlets
from models import TINY_LLAMA

import llmlab
from llmlab import world
from llmlab.quantization import dequantize_model, matrices, model_bytes, quantize_model
from llmlab.transformer import Transformer
from llmlab.widgets import quantization_asked
from llmlab.widgets.quantization import BitSlider
from llmlab.widgets.quantization_asked import FULL, SKILLS
from llmlab.widgets.quantization_steps import Setting, cost, costliest, fate, folded, histogram, largest

MODEL, TOKENIZER = llmlab.load_model()
SETTINGS = [
    Setting(4, "group", True, 100, 32),
    Setting(2, "group", False, 100, 5),
    Setting(8, "channel", False, 100, 32),
    Setting(3, "channel", True, 60, 32),
    Setting(5, "tensor", True, 35, 32),
    Setting(4, "tensor", False, 80, 32),
]


@pytest.fixture
def slider():
    return BitSlider(MODEL, TOKENIZER)


@pytest.fixture
def few(monkeypatch):
    """Fewer items, so that a test measures in a second or two."""
    for skill in SKILLS:
        monkeypatch.setitem(SKILLS, skill, 12)


@pytest.fixture(params=[(7, 23), (130, 67)], ids=str)
def w(request):
    torch.manual_seed(3)
    w = torch.randn(request.param) * 0.1
    w[2, 3], w[5, -1], w[6, 6] = 1.5, -0.9, 0.0
    return w


def groups_of(w, setting):
    """The flat places of each group, by a loop."""
    places = torch.arange(w.numel()).reshape(w.shape)
    if setting.granularity == "tensor":
        return [places.reshape(-1)]
    size = w.shape[1] if setting.granularity == "channel" else setting.group_size
    return [part for row in places for part in row.split(size)]


def rounded(numbers, setting):
    """One group by PyTorch's own rounding, with the scale made here in float64: (numbers that codes mean, scale)."""
    low, high = (min(numbers.min().item(), 0.0), max(numbers.max().item(), 0.0))
    low, high = low * setting.kept / 100, high * setting.kept / 100
    n = 2**setting.bits
    lowest, highest = (1 - n // 2, n // 2 - 1) if setting.symmetric else (0, n - 1)
    scale = max(-low, high) / highest if setting.symmetric else (high - low) / (n - 1)
    zero = 0 if setting.symmetric else min(n - 1, round(-low / scale))
    half = torch.tensor(scale, dtype=torch.float64).half()
    if half.double() < scale:
        half = torch.nextafter(half, torch.tensor(torch.inf, dtype=torch.float16))
    made = torch.fake_quantize_per_tensor_affine(numbers, half.item(), zero, lowest, highest)
    return made, half.item()


# One matrix ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", SETTINGS, ids=Setting.words)
def test_errors_and_zeros_are_those_of_pytorch_group_by_group(w, setting):
    its = fate(w, setting.quantized(w))
    for places in groups_of(w, setting):
        numbers = w.reshape(-1)[places]
        made, _ = rounded(numbers, setting)
        torch.testing.assert_close(its.error.reshape(-1)[places], (numbers - made).abs(), rtol=1e-5, atol=1e-7)
        assert torch.equal(its.on_zero.reshape(-1)[places], made == 0)
    assert its.rms == pytest.approx(its.error.double().pow(2).mean().sqrt().item())


@pytest.mark.parametrize("setting", SETTINGS, ids=Setting.words)
def test_clipped_is_what_lies_more_than_half_a_step_from_its_level(w, setting):
    its = fate(w, setting.quantized(w))
    for places in groups_of(w, setting):
        _, scale = rounded(w.reshape(-1)[places], setting)
        assert torch.equal(its.clipped.reshape(-1)[places], its.error.reshape(-1)[places] > 0.5001 * scale)
    assert bool(its.clipped.any()) == (setting.kept < 100)  # the control: the whole range clips nothing


@pytest.mark.parametrize("setting", SETTINGS, ids=Setting.words)
@pytest.mark.parametrize("index", [2 * 23 + 3, 5 * 23 + 22, 0])
def test_the_cost_of_a_weight_is_its_group_quantized_again_without_it(setting, index):
    torch.manual_seed(3)
    w = torch.randn(7, 23) * 0.1
    w[2, 3], w[5, -1] = 1.5, -0.9
    places = next(part for part in groups_of(w, setting) if index in part)
    group, others = w.reshape(-1)[places], w.reshape(-1)[places[places != index]]
    found = cost(w, setting, index)
    made, scale = rounded(group, setting)
    alone, smaller = rounded(others, setting)
    off = (group - made)[places != index]
    assert (found["first"], found["n"]) == (int(places[0]), len(places))
    assert (found["step"], found["step_without"]) == (scale, smaller)
    assert found["rms"] == pytest.approx(off.double().pow(2).mean().sqrt().item(), rel=1e-5)
    assert found["rms_without"] == pytest.approx((others - alone).double().pow(2).mean().sqrt().item(), rel=1e-5)
    assert found["zeros"] == int((made[places != index] == 0).sum())
    assert found["zeros_without"] == int((alone == 0).sum())
    assert smaller < scale if index == 2 * 23 + 3 else smaller <= scale  # the largest costs, whatever the setting


def test_a_weight_with_a_scale_of_its_own_costs_nobody():
    w = torch.tensor([[1.0, 2.0, 3.0, 4.0, 9.0]])
    setting = Setting(4, "group", True, 100, 4)
    assert cost(w, setting, 4)["step_without"] is None and cost(w, setting, 4)["n"] == 1
    assert costliest(w, setting) == 3  # without the 4 its group ends at 3; the 9 is alone
    assert costliest(w, Setting(4, "tensor", True, 100, 4)) == 4


def test_largest_weights_and_map_and_histogram_against_loops(w):
    order = sorted(range(w.numel()), key=lambda at: -abs(w.reshape(-1)[at].item()))
    assert largest(w) == order[:24]
    error = w.abs()
    for how in ("rms", "max"):
        cells, down, across = folded(error, how)
        assert max(cells.shape) <= 64 and (down, across) == ((1, 1) if w.shape == (7, 23) else (3, 2))
        for i in range(cells.shape[0]):
            for j in range(cells.shape[1]):
                part = error[i * down : (i + 1) * down, j * across : (j + 1) * across].double()
                wanted = part.max() if how == "max" else part.pow(2).mean().sqrt()
                assert cells[i, j].item() == pytest.approx(wanted.item())
    its = fate(w, Setting(3, "channel", True, 50, 32).quantized(w))
    bins = histogram(w, its, 16)
    assert [sum(bin[k] for bin in bins) for k in (2, 3, 4)] == [w.numel(), its.on_zero.sum(), its.clipped.sum()]
    wanted = torch.histc(w, 16, -1.5, 1.5)
    assert [bin[2] for bin in bins] == wanted.int().tolist()


# Bytes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", ["shipped", "untied"])
@pytest.mark.parametrize(
    "bits,granularity,symmetric", [(4, "group", True), (3, "group", False), (5, "channel", True), (2, "tensor", False)]
)
def test_bytes_are_those_of_the_packed_model(config, bits, granularity, symmetric):
    model = MODEL if config == "shipped" else Transformer(TINY_LLAMA)
    slider = BitSlider(model, TOKENIZER, bits=bits, granularity=granularity, symmetric=symmetric, group_size=24)
    size = {"group_size": 24} if granularity == "group" else {"granularity": granularity}
    packed = quantize_model(model, bits, symmetric=symmetric, **size)
    assert slider.model_bytes == model_bytes(packed)
    assert slider.matrix_bytes == slider.quantized.nbytes
    assert slider.sizes["full"] == model_bytes(model)


# Traits -------------------------------------------------------------------------------------------------------------


def test_the_first_view_is_the_matrix_with_the_weight_farthest_out(slider):
    reach = {
        name: (w.abs().max() / w.pow(2).mean().sqrt()).item()
        for name, w in matrices(MODEL).items()
        if name.startswith("blocks.")
    }
    assert slider.matrix == max(reach, key=reach.get)
    torch.testing.assert_close(torch.from_numpy(slider.weights), matrices(MODEL)[slider.matrix])
    others = [cost(slider._w, slider.setting, at) for at in largest(slider._w)]
    ratio = slider.outlier["step_without"] / slider.outlier["step"]
    assert ratio == min(one["step_without"] / one["step"] for one in others) < 0.5
    assert slider.measured == {} and slider.progress == ""
    assert repr(slider) == repr(BitSlider()) and slider.matrix in repr(slider)


def test_another_matrix_brings_its_weights_and_its_costliest_one(slider):
    slider.chosen = 5
    slider.matrix = "blocks.0.attention.k_proj"
    assert slider.weights.shape == (64, 192) and slider.chosen == costliest(slider._w, slider.setting)
    assert BitSlider(MODEL, TOKENIZER, chosen=7).chosen == 7


@pytest.mark.parametrize(
    "traits,expected",
    [
        ({"matrix": "blocks.9"}, "no matrix 'blocks.9' here; there are"),
        ({"bits": 9}, "9"),
        ({"kept": 5}, "5"),
        ({"granularity": "rows"}, "rows"),
        ({"chosen": 10**9}, "expected a weight from 0 to"),
    ],
)
def test_what_cannot_be_is_refused(traits, expected):
    with pytest.raises(traitlets.TraitError, match=re.escape(expected)):
        BitSlider(MODEL, TOKENIZER, **traits)


# What was measured --------------------------------------------------------------------------------------------------


def test_what_is_measured_is_what_the_packed_model_answers(slider, few):
    found = slider.measure(4)[4]
    assert set(slider.measured) == {FULL, slider.setting.words()} and slider.progress == ""
    small = dequantize_model(quantize_model(MODEL, 4, group_size=32))
    for key, model in ((FULL, MODEL), (slider.setting.words(), small)):
        wanted = world.evaluate(model, list(SKILLS), 12, tokenizer=TOKENIZER)
        assert slider.measured[key]["scores"] == {name: [one.correct, one.total] for name, one in wanted.items()}
        for name, one in wanted.items():
            assert slider.measured[key]["ends"][name] == pytest.approx([one.low * 12, one.high * 12])
    assert found["bytes"] == slider.model_bytes and slider.measured[FULL]["bytes"] == model_bytes(MODEL)
    assert found["loss"] - slider.measured[FULL]["loss"] == pytest.approx(found["more"][0])
    assert found["more"][1] < found["more"][0] < found["more"][2]


def test_the_lost_facts_are_named_with_what_the_model_says_instead(slider, few):
    slider.granularity = "channel"
    found = slider.measure(3)[3]
    small = dequantize_model(quantize_model(MODEL, 3))
    items = [item for skill in ("facts_true", "facts_invented") for item in world.items(skill, 12)]
    knew, know = (world.answers(model, items, tokenizer=TOKENIZER) for model in (MODEL, small))
    lost = [item for item, was, now in zip(items, knew, know, strict=True) if was and not now]
    assert lost and sorted(one[:2] for one in found["lost"]) == sorted([i.prompt, i.answer.strip()] for i in lost)
    assert found["forgot"].startswith(f"No longer answered right: {len(lost)} of {sum(knew)} facts that")
    start = TOKENIZER.special_tokens["<s>"]
    for prompt, answer, says, inside in found["lost"]:
        assert says != answer and inside == ("yes" if answer.strip(".") in says else "")
        ids = [start, *TOKENIZER.encode(prompt)]
        for _ in range(3):  # token by token, without a batch
            with torch.inference_mode():
                ids.append(small(torch.tensor([ids]))[0, -1].argmax().item())
        new = TOKENIZER.decode([token for token in ids if token != start][len(TOKENIZER.encode(prompt)) :]).strip()
        new = new.split("</s>")[0].split("\n")[0].partition(".")[0].strip()
        assert says.strip(".").startswith(new)


def test_bits_are_measured_once_and_models_are_left_alone(slider, few, monkeypatch):
    before = {name: w.clone() for name, w in MODEL.state_dict().items()}
    slider.measure([8, 2])
    assert len(slider.measured) == 3
    loss = {bits: one["loss"] for bits, one in slider.measure([8, 2]).items()}
    assert loss[8] < loss[2] and sum(slider.measured[k]["gained"] for k in slider.measured if k != FULL) >= 0
    monkeypatch.setattr(quantization_asked.Bench, "measured", None)  # nothing is left to measure
    slider.measure([2, 8])
    assert all(torch.equal(w, before[name]) for name, w in MODEL.state_dict().items())
    with pytest.raises(ValueError, match="2 to 8 bits, got 9"):
        slider.measure(9)


def test_a_model_that_learned_nothing_can_be_asked_and_one_of_other_tokens_cannot(few):
    config = TINY_LLAMA.__class__(**{**vars(TINY_LLAMA), "vocab_size": 4096, "max_seq_len": 64})
    model = Transformer(config).train()
    slider = BitSlider(model, TOKENIZER, bits=2, granularity="channel")
    found = slider.measure()[2]
    assert found["lost"] == [] and "0 of 0 facts" in found["forgot"] and model.training
    slider = BitSlider(Transformer(TINY_LLAMA), TOKENIZER)
    with pytest.raises(ValueError, match="the tokenizer has 4096 tokens, the model 97"):
        slider.measure()
    slider.set_state({"asked": 1})
    assert "the tokenizer has 4096 tokens" in slider.error and slider.progress == "" and not slider.busy


def test_the_browser_asks_for_this_setting_or_for_all(slider, few, monkeypatch):
    seen = []
    monkeypatch.setattr(BitSlider, "measure", lambda self, bits=None: seen.append(bits and list(bits)))
    slider.set_state({"wish": "this", "asked": 1})
    slider.set_state({"wish": "all", "asked": 2})
    assert seen == [None, [8, 7, 6, 5, 4, 3, 2]] and not slider.busy and slider.error == ""


# As text ------------------------------------------------------------------------------------------------------------


def test_the_tables_say_what_is_shown(slider, few):
    slider.kept = 70
    matrix, bins, weights, errors, measured, lost = slider.tables()
    its = slider.fate
    values = dict(matrix.rows)
    assert values["land on 0"] == f"{100 * its.on_zero.float().mean().item():.1f} %"
    assert float(values["rms error"]) == pytest.approx(its.rms, rel=5e-3)
    assert values["bytes of the model"] == f"{slider.model_bytes:,}"
    assert len(bins.rows) == 16 and weights.rows[0][0].endswith("chosen") and len(errors.rows) == 8
    assert (measured.rows, lost.rows) == ([], []) and "not measured" in lost.caption
    slider.measure()
    *_, measured, lost = slider.tables()
    assert [row[0] for row in measured.rows] == ["as it is", slider.setting.words()]
    assert len(lost.rows) == len(slider.measured[slider.setting.words()]["lost"])
    assert not math.isnan(float(measured.rows[1][2]))
    assert "as it is" in slider.fallback_html()
