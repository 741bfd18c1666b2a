"""The study of rounding: its settings against the package's own functions, its record against hand-made ones."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from models import EVERY, random_model, random_tokens, relative

from llmlab import studies, world
from llmlab.quantization import (
    dequantize_model,
    model_bytes,
    normal_levels,
    quantize,
    quantize_by_gptq,
    quantize_model,
    rotate_stream,
    scale_by_awq,
    to_levels,
    with_quantized,
)
from llmlab.studies import ROUNDING, Answers, Rounding, Setting, Study
from llmlab.studies.answers import TOLD
from llmlab.studies.measures import measures, one_by_one, score, written
from llmlab.studies.recorded import opened
from llmlab.studies.records import fingerprint
from llmlab.studies.running import Runner, trained
from llmlab.studies.statistics import Mean
from llmlab.training import IGNORE

ONCE = ("full precision", "nearest", "asymmetric", "normal levels")

# What is compared ---------------------------------------------------------------------------------------------------


def test_the_settings_differ_in_nothing_but_their_rounding():
    shipped = ROUNDING.full["full precision"]
    assert shipped.rounding is None and not shipped.training.n_steps and shipped.start == "shipped"
    for name, setting in ROUNDING.full.items():
        assert dataclasses.replace(setting, rounding=None) == shipped
        way, _, bits = name.rpartition(", ")
        if setting.rounds is not None:
            assert f"{setting.rounds.bits} bits" == bits and (setting.rounds.table, setting.rounds.group_size) == (
                8,
                32,
            )
            assert setting.rounds.rotated == way.startswith("rotated")
            assert setting.rounds.symmetric == (not way.endswith("asymmetric"))
        assert ROUNDING.seeds_of(name) == (ROUNDING.seeds[:1] if way in ONCE or name in ONCE else ROUNDING.seeds)
    assert len({setting.key for setting in ROUNDING.full.values()}) == len(ROUNDING.settings) == 19
    assert 0 not in ROUNDING.seeds  # its documents are those that the model was trained on


def by_hand(model, how, reading, seed):
    """What each field asks for, written out."""
    model = rotate_stream(model, seed=seed) if how.rotated else model
    kept = {"group_size": how.group_size, "symmetric": how.symmetric}
    bits = {"*": how.bits, "embedding": how.table}
    if not model.config.tie_embeddings:
        bits["head"] = how.table
    if how.method == "levels":
        made = {}
        for name, weight in [(path, each.weight) for path, each in model.named_modules() if hasattr(each, "weight")]:
            if weight.dim() != 2 or (name == "head" and model.config.tie_embeddings) or "router" in name:
                continue
            groups = {"group_size": how.group_size, "scale_dtype": torch.float16}
            table = name in ("embedding", "head")
            made[name] = (
                quantize(weight, how.table, **groups) if table else to_levels(weight, normal_levels(3), **groups)
            )
        return with_quantized(model, made)
    if how.method == "gptq":
        return quantize_by_gptq(model, reading, bits, order="activation", **kept)
    if how.method == "awq":
        model = scale_by_awq(model, reading, bits, **kept)[0]
    return quantize_model(model, bits, **kept)


WAYS = [
    Rounding(3, group_size=8),
    Rounding(3, group_size=8, symmetric=False),
    Rounding(3, method="levels", group_size=8),
    Rounding(3, method="awq", group_size=8, table=6),
    Rounding(3, method="gptq", group_size=8),
    Rounding(4, method="gptq", group_size=8, rotated=True),
    Rounding(4, group_size=8, rotated=True, table=5),
]


@pytest.mark.parametrize("how", WAYS, ids=str)
@pytest.mark.parametrize("family", ["llama", "mixtral", "mla"])
def test_a_rounding_does_what_its_fields_say(family, how):
    model = random_model(EVERY[family])
    reading, tokens = [random_tokens(model.config, 3, 12)], random_tokens(model.config, 2, 9, seed=4)
    small = how.packed(model, reading, 7)
    with torch.inference_mode():
        assert torch.equal(small(tokens), by_hand(model, how, reading, 7)(tokens))
        assert 0 < relative(small(tokens), model(tokens)) < 1.5
    assert small.embedding.packed.bits == how.table and small.blocks[1].attention.o_proj.packed.bits == how.bits
    other = how.packed(model, [random_tokens(model.config, 3, 12, seed=9)], 8)
    assert how.draws != torch.equal(small(tokens), other(tokens))
    assert how.probe > 0 and how.probe == dataclasses.replace(how).probe


@pytest.mark.parametrize(
    "given, message",
    [
        ({"bits": 4, "method": "nf5"}, "a method of rounding, one of nearest, levels, awq, gptq; got 'nf5'"),
        ({"bits": 4, "method": "levels", "symmetric": False}, "have no zero point: leave out symmetric=False"),
        ({"method": "gptq"}, r"fields of a rounding, got \{'method': 'gptq'\} .*bits"),
        ({"bits": 4, "group": 8}, "fields of a rounding, got .*group"),
    ],
)
def test_a_rounding_that_makes_no_sense_is_named(given, message):
    with pytest.raises(ValueError, match=message):
        Setting().changed({"rounding": given})


def test_a_changed_method_makes_a_record_stale(monkeypatch):
    setting = ROUNDING.full["GPTQ, 3 bits"]
    before = fingerprint(setting, ROUNDING.measure)
    monkeypatch.setattr("llmlab.studies.rounding.quantize_by_gptq", lambda model, reading, bits, **kept: quantize_model(
        model, bits, group_size=kept["group_size"]
    ))  # fmt: skip
    assert studies.records.same(before, fingerprint(setting, ROUNDING.measure)) == "its first losses"


# What is measured ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 7, 8, 9, 300])
def test_answers_are_written_briefly_and_read_back(n):
    answers = (np.random.default_rng(n).random(n) < 0.7).tolist()
    assert one_by_one(written(answers)) == [float(one) for one in answers] and len(written(answers)) <= n / 6 + 9
    assert (score(written(answers)).correct, score(written(answers)).total) == (sum(answers), n)
    assert measures({"a": written(answers), "loss": [1.0, 2.5]}) == {"a": sum(answers) / n, "loss": 1.75}


def test_what_is_a_count_or_a_whole_has_no_parts():
    assert one_by_one([3, 4]) == one_by_one([3, 4, 0.5]) == one_by_one(2.5) == []
    assert score([3, 4, 0.5]).total == 4 and score(1.5) is None and score([1.5, 2.0]) is None


def test_each_answer_and_each_row_is_that_of_the_model_alone():
    """A small model, packed: items one by one, rows token by token over their own documents only."""
    setting = Setting().changed({"d_model": 32, "n_layers": 1, "n_heads": 2, "d_ff": 48, "seq_len": 48})
    small, tokenizer = quantize_model(setting.new_model(0), 6, group_size=8), setting.tokenizer()
    measure = Answers(skills=("senses",), n=9, rows=3)
    found, start = measure(small, setting), tokenizer.special_tokens["<s>"]
    assert list(found) == ["bytes", "loss", "told_true", "told_invented", "senses"]
    assert found["bytes"] == model_bytes(small)
    assert len(one_by_one(found["told_true"])) == 156 and len(one_by_one(found["told_invented"])) == 1020
    told = [world.asked(fact)[0] for fact in world.true_facts()][:40]
    for right, item in [
        *zip(one_by_one(found["senses"]), world.items("senses", 9), strict=True),
        *zip(one_by_one(found["told_true"])[:40], told, strict=True),
    ]:
        prompt, answer = tokenizer.encode(item.prompt), tokenizer.encode(item.answer)
        said = small(torch.tensor([[start, *prompt, *answer]]))[0, len(prompt) : -1].argmax(-1).tolist()
        assert right == (said == answer)
    batch = measure.batch(setting)
    for row in range(3):
        nats, begin = [], 0
        for t in range(48):
            begin = t if batch.positions[row, t] == 0 else begin
            if batch.targets[row, t] != IGNORE:
                logits = small(batch.tokens[row : row + 1, begin : t + 1])[0, -1]
                nats.append(F.cross_entropy(logits, batch.targets[row, t]).item())
        assert found["loss"][row] == pytest.approx(sum(nats) / len(nats), abs=6e-4)
    assert measure.checksum(setting) == dataclasses.replace(measure).checksum(setting)
    others = [{"n": 8}, {"rows": 2}, {"skills": ("copying",)}]
    assert measure.checksum(setting) not in [dataclasses.replace(measure, **one).checksum(setting) for one in others]


# What is recorded ---------------------------------------------------------------------------------------------------


def small_study():
    return Study(
        "small", "?",
        {
            "as it is": {},
            "nearest": {"rounding": {"bits": 3}},
            "coarse": {"rounding": {"bits": 2}},
            "rotated": {"rounding": {"bits": 3, "rotated": True}},
        },
        seeds=(3, 5),
        base={"start": "mha", "mixture": {}, "lists_first": 0, "n_steps": 0, "batch_size": 1, "seq_len": 32},
        measure=Answers(skills=("senses",), n=12, rows=4),
    )  # fmt: skip


def test_a_packed_model_is_recorded_and_compared_part_by_part(tmp_path, monkeypatch):
    """Runs from their start to the table; differences against numpy on the parts themselves. Of 30 people."""
    monkeypatch.setitem(TOLD, "told_true", lambda: world.true_facts()[:20])
    monkeypatch.setitem(TOLD, "told_invented", lambda: world.invented_facts()[:90])
    study, runner = small_study(), Runner(tmp_path, tmp_path / "runs", jobs=1)
    assert study.runs == [("as it is", 3), ("nearest", 3), ("coarse", 3), ("rotated", 3), ("rotated", 5)]
    kept = {}
    for run in runner.missing(study):
        folder = tmp_path / f"{run.name} {run.seed}"
        folder.mkdir()
        made, result = trained(run, folder, 1)
        again, same = trained(run, folder, 1)  # opened from where it was saved
        tokens = torch.arange(9)[None]
        with torch.inference_mode():
            assert torch.equal(made(tokens), again(tokens)) and same == result
        kept[run.name, run.seed] = study.measure(made, run.setting)
        runner.keep(run, result | {"measuring": 0.1, "measured": kept[run.name, run.seed]})
    assert not runner.missing(study)
    found = opened(study, tmp_path)
    parts = {key: np.array(one_by_one(one["told_invented"])) for key, one in kept.items()}
    rotated = (parts["rotated", 3] + parts["rotated", 5]) / 2
    assert found.each("rotated", "told_invented") == rotated.tolist()
    assert found.each("rotated", "told_invented", seed=5) == parts["rotated", 5].tolist()
    people = (rotated - parts["nearest", 3]).reshape(30, 3).mean(1)
    one = found.difference("rotated", "told_invented", to="nearest", over="parts")
    assert one.values == pytest.approx(people) and one.n == 30
    assert one.half == pytest.approx(2.04523 * people.std(ddof=1) / math.sqrt(30), rel=1e-4)
    both = found.difference("rotated", "told_invented", to="nearest", over="both")
    draws = found.difference("rotated", "told_invented", to="nearest")
    assert (both.values, both.n) == (one.values, 30) and draws.n == 2
    assert both.half == pytest.approx(math.sqrt(one.half**2 + draws.half**2)) and both.half > one.half
    assert both.high - both.low == pytest.approx(2 * both.half)
    alone = [found.difference("coarse", "loss", to="nearest", over=over) for over in ("parts", "both")]
    assert alone[0] == alone[1]  # where nothing is drawn there is no more to it
    loss = found.difference("nearest", "loss", over="parts")
    assert loss.values == pytest.approx(np.subtract(kept["nearest", 3]["loss"], kept["as it is", 3]["loss"]))
    assert found.values("nearest", "loss")[5] == pytest.approx(np.mean(kept["nearest", 3]["loss"]))
    assert found.score("rotated", "senses", seed=5) == score(kept["rotated", 5]["senses"])
    # What was run once has no spread over seeds; against what draws, each draw counts.
    assert found.difference("coarse", "loss", to="nearest").n == 1 and found.difference("rotated", "loss").n == 2
    assert not found.difference("coarse", "loss", to="nearest").found
    table = repr(found.table(["loss", "bytes"], settings=["nearest", "rotated"]))
    assert f"{kept['nearest', 3]['bytes']:,}, once" in table
    assert "as it is" not in table and " ± " in table.splitlines()[1]
    compared = repr(found.compared(["told_invented"], to="nearest", settings=["rotated"], over="parts"))
    assert one.verdict in compared and "paired by what was asked or read" in compared
    shown = found.plot(["told_invented"], to="nearest", settings=["rotated"], over="parts")
    assert str(one) in shown.alt and "coarse" not in shown.alt
    with pytest.raises(ValueError, match="no parts of 'bytes' are recorded of rotated"):
        found.each("rotated", "bytes")
    with pytest.raises(ValueError, match="are recorded of 'rotated' with seed 4"):
        found.each("rotated", "loss", seed=4)
    with pytest.raises(ValueError, match="expected over to be one of seeds, parts, both; got 'texts'"):
        found.difference("rotated", "loss", over="texts")


def test_the_record_says_what_the_packed_models_take():
    """Rows of whole bytes, a scale of two bytes for 32 numbers, and zero points of one, from the shapes."""
    recorded, config = studies.load("rounding"), ROUNDING.full["full precision"].model
    model = ROUNDING.full["full precision"].new_model(1)
    table, norms = model.embedding.weight.numel(), sum(each.numel() for each in model.parameters() if each.dim() == 1)
    layers = sum(each.numel() for each in model.parameters()) - table - norms
    assert recorded.mean("full precision", "bytes").mean == 4 * (layers + table + norms)
    assert config.d_model % 32 == config.d_ff % 32 == 0
    for name, setting in ROUNDING.full.items():
        how = setting.rounds
        if how is None:
            continue
        n_matrices = 7 * config.n_layers
        groups = (layers + table * (1 + how.rotated)) // 32
        expected = layers * how.bits // 8 + table * (1 + how.rotated) + 4 * norms + groups * (2 + (not how.symmetric))
        expected += n_matrices * 4 * 2**how.bits * (how.method == "levels")
        assert set(recorded.values(name, "bytes").values()) == {expected}, name


@pytest.mark.parametrize("name, seed, close", [("nearest, 3 bits", 1, 2e-3), ("GPTQ, 3 bits", 2, 1e-2)])
def test_a_recorded_run_comes_out_again(name, seed, close):
    """Its first rows and its true facts. Rounding is no continuous function: elsewhere GPTQ may take other codes."""
    recorded, setting = studies.load("rounding"), ROUNDING.full[name]
    plain = dequantize_model(setting.rounded(setting.new_model(seed), seed))
    few = dataclasses.replace(ROUNDING.measure, rows=16)
    wanted = recorded.each(name, "loss", seed=seed)[:16]
    assert np.mean(few.losses(plain, setting)) == pytest.approx(np.mean(wanted), abs=close)
    items = few.asked()["told_true"]
    right = world.answers(plain, items, tokenizer=setting.tokenizer(), batch_size=128)
    assert abs(sum(right) - recorded.score(name, "told_true", seed=seed).correct) <= 4


def test_means_of_parts_are_those_of_the_whole():
    recorded = studies.load("rounding")
    for measure in ("loss", "told_invented", "copying"):
        each = recorded.each("GPTQ, 4 bits", measure)
        assert Mean(tuple(each)).mean == pytest.approx(recorded.mean("GPTQ, 4 bits", measure).mean, abs=1e-9)


def test_the_readme_tells_what_is_recorded(repo):
    recorded, text = studies.load("rounding"), (repo / "data" / "README.md").read_text(encoding="utf-8")
    ways = dict.fromkeys(name.rpartition(", ")[0] for name in ROUNDING.settings if name.endswith("bits"))
    del ways["nearest"]
    for way in ways:
        cells = []
        for bits in (4, 3):
            for measure in ("loss", "told_invented"):
                to = {"to": f"nearest, {bits} bits", "over": "both"}
                one = recorded.difference(f"{way}, {bits} bits", measure, **to)
                cells.append(f"{one.mean:+.3f} ± {one.half:.3f}{'*' if one.found else ''}")
        assert f"| {' | '.join([way, *cells])} |" in text
    known = np.array(recorded.each("full precision", "told_invented")) > 0
    kept = {
        name: [(known & (np.array(recorded.each(name, "told_invented", seed=n)) > 0)).sum() for n in ROUNDING.seeds]
        for name in ROUNDING.settings
    }
    assert known.sum() == 982 and kept["nearest, 3 bits"][0] == 737
    assert min(min(of) for name, of in kept.items() if name.endswith("4 bits")) == 950
    for name, ends in (("rotated", (471, 759)), ("GPTQ, asymmetric", (935, 948)), ("AWQ, asymmetric", (867, 899))):
        assert (min(kept[f"{name}, 3 bits"]), max(kept[f"{name}, 3 bits"])) == ends
