"""Studies: the statistics against closed forms and brute force, the runs against uninterrupted ones, the records."""

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import regex
import torch
from studying import TINY

from llmlab import checkpoint, load_model, studies, world
from llmlab.cli import main
from llmlab.cli import study as command
from llmlab.model_card import UNSEEN
from llmlab.studies import Examination, Setting, Study, records
from llmlab.studies.laboratory import DIGITS, MHA, MIXTURE, SHIPPED
from llmlab.studies.measures import NATS, ByPosition, Longer, bits_per_byte, by_place, measures
from llmlab.studies.recorded import opened
from llmlab.studies.running import Run, Runner, curve, trained, what_it_does
from llmlab.studies.statistics import Difference, Mean, by_luck, paired, t_probability, t_quantile
from llmlab.tokenization import BPETokenizer
from llmlab.training import IGNORE, Trainer, new_model

# Statistics ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 9, 24, 30])
def test_the_t_distribution_is_the_integral_of_its_density(df):
    """Student's density, integrated by Simpson's rule on 200,000 steps."""
    scale = math.gamma((df + 1) / 2) / math.sqrt(df * math.pi) / math.gamma(df / 2)
    for t in (0.3, 1.0, 2.5, 8.0):
        x = np.linspace(0, t, 200_001)
        density = scale * (1 + x**2 / df) ** (-(df + 1) / 2)
        weights = np.where(np.arange(len(x)) % 2, 4, 2)
        weights[[0, -1]] = 1
        integral = 2 * (weights * density).sum() * (x[1] - x[0]) / 3
        assert t_probability(t, df) == pytest.approx(integral, abs=1e-10)


@pytest.mark.parametrize(
    "df, level, closed",
    [
        (1, 0.95, math.tan(math.pi * 0.95 / 2)),  # the Cauchy distribution
        (2, 0.95, 0.95 * math.sqrt(2 / (1 - 0.95**2))),
        (2, 0.99, 0.99 * math.sqrt(2 / (1 - 0.99**2))),
        (3, 0.95, 3.182446),  # Student's table, as every textbook has it
        (4, 0.95, 2.776445),
        (9, 0.95, 2.262157),
        (30, 0.99, 2.749996),
    ],
)
def test_quantiles_are_those_of_closed_forms_and_of_the_table(df, level, closed):
    assert t_quantile(df, level) == pytest.approx(closed, rel=1e-6)


def test_three_runs_have_an_interval_of_four_standard_errors_and_five_of_three():
    assert t_quantile(2) == pytest.approx(4.3, abs=0.05) and t_quantile(4) == pytest.approx(2.8, abs=0.05)


def test_intervals_of_the_mean_hold_it_in_95_percent_of_the_draws():
    """1,000 times five draws of a normal distribution around 7: a binomial count, held to four standard deviations."""
    drawn = np.random.default_rng(0).normal(7, 3, size=(1000, 5))
    held = 0
    for row in drawn:
        one = Mean(tuple(row))
        held += one.low <= 7 <= one.high
        assert one.mean == pytest.approx(row.mean()) and one.sd == pytest.approx(row.std(ddof=1))
    assert abs(held - 950) <= 4 * math.sqrt(1000 * 0.95 * 0.05)


def test_a_difference_is_paired_by_seed_and_found_only_outside_its_interval():
    these, those = {0: 0.5, 1: 0.7, 2: 0.9, 5: 0.1}, {0: 0.4, 1: 0.61, 2: 0.79, 4: 0.9}
    one = paired(these, those, setting="a", to="b", measure="m")
    assert one.n == 3 and one.mean == pytest.approx(0.1)
    spread = np.std([0.1, 0.09, 0.11], ddof=1) / math.sqrt(3) * math.sqrt(2 / (1 - 0.95**2)) * 0.95
    assert one.high - one.mean == pytest.approx(spread) and one.found and one.verdict == "higher"
    assert paired(those, these).verdict == "lower"
    # The means differ by as much, but the pairs do not agree.
    assert paired({0: 0.5, 1: 0.7, 2: 0.9}, {0: 0.61, 1: 0.79, 2: 0.4}).verdict == "no difference found"


@pytest.mark.parametrize("n, half", [(0, math.inf), (1, math.inf), (2, 12.706 * 0.5)])
def test_few_runs_have_wide_intervals_and_one_run_has_none(n, half):
    one = Difference((1.0, 2.0)[:n])
    assert one.half == pytest.approx(half, rel=1e-4) and not one.found and one.verdict == "no difference found"


def test_runs_that_all_agree_have_no_difference():
    assert not Difference((0.0, 0.0, 0.0)).found
    assert by_luck([Difference(())] * 40) == pytest.approx(2)


@pytest.mark.parametrize("t, df", [(-1, 3), (math.nan, 3), (1, 0)])
def test_a_t_or_df_that_makes_no_sense_is_named(t, df):
    with pytest.raises(ValueError, match="expected t of at least 0 and df of at least 1"):
        t_probability(t, df)
    with pytest.raises(ValueError, match="expected a level between 0 and 1, got 1"):
        t_quantile(3, 1)


# Settings -----------------------------------------------------------------------------------------------------------


def test_settings_change_what_they_name_and_nothing_else():
    setting = Setting().changed({"ffn": "relu", "d_ff": 384, "n_steps": 7, "mixture": {"sums": 1}})
    assert dataclasses.replace(setting.model, ffn="swiglu", d_ff=256) == Setting().model
    assert dataclasses.replace(setting.training, n_steps=Setting().training.n_steps) == Setting().training
    assert setting.mixture == {"sums": 1} and Setting().mixture == MIXTURE
    assert setting.changed({}).key == setting.key != Setting().key


def test_other_heads_have_as_many_kv_heads_unless_these_are_named():
    assert Setting().changed({"n_heads": 2}).model.n_kv_heads == 2
    assert Setting().changed({"n_heads": 4, "n_kv_heads": 2}).model.n_kv_heads == 2


@pytest.mark.parametrize("changes", [{"n_headss": 3}, {"seed": 1}, {"model": None}])
def test_a_setting_that_does_not_exist_is_named_with_those_that_do(changes):
    (name,) = changes
    with pytest.raises(ValueError, match=rf"unknown settings {name}; known are .*d_model.*digits.*n_steps"):
        Setting().changed(changes)
    with pytest.raises(ValueError, match=f"unknown settings {name}"):
        Study("s", "?", {"as it is": {}, "other": changes})


def test_equal_seeds_begin_with_the_same_weights_wherever_the_shapes_allow():
    base = Setting().changed({"n_layers": 2})
    one, other = base.new_model(3), base.changed({"n_kv_heads": 2, "d_ff": 320}).new_model(3)
    theirs, n_alike = dict(other.named_parameters()), 0
    for name, parameter in one.named_parameters():
        if parameter.dim() > 1 and parameter.shape == theirs[name].shape:
            assert torch.equal(parameter, theirs[name]), name
            n_alike += 1
    assert n_alike == 5  # the table, and of each layer the query and output projections
    again, seed_4 = base.new_model(3), base.new_model(4)
    assert torch.equal(one.embedding.weight, again.embedding.weight)
    assert not torch.equal(one.embedding.weight, seed_4.embedding.weight)
    ours = one.blocks[0].attention.q_proj.weight
    assert not torch.equal(ours, one.blocks[1].attention.q_proj.weight)
    # drawn as `new_model` draws: the same spread, by name
    usual = new_model(base.model, 0)
    for name, parameter in usual.named_parameters():
        if parameter.dim() > 1:
            assert dict(one.named_parameters())[name].std().item() == pytest.approx(parameter.std().item(), rel=0.1)


def test_settings_that_came_later_leave_the_keys_of_recorded_runs():
    """The key of the laboratory stands in its record, made before `apart`, `start` and `reading` were settings."""
    assert Setting().key == studies.load("laboratory").record["runs"][0]["key"]
    changes = ({"apart": False}, {"start": "shipped"}, {"reading": 3, "mixture": {}}, {"noise": 0.5}, {"fault": "leak"})
    changes += ({"start": "mha"}, *({"start": "mha", "convert": how} for how in ("mean", "first", "drawn")))
    changes += ({"rounding": {"bits": 4}}, {"rounding": {"bits": 4, "method": "gptq"}})
    assert len({Setting().key, *(Setting().changed(one).key for one in changes)}) == 12
    with pytest.raises(ValueError, match="start to be one of drawn, shipped, mha; got 'mine'"):
        Setting().changed({"start": "mine"})


def test_every_recorded_run_has_the_key_of_its_setting_today(repo):
    """A field that came later may change no key: records would be lost."""
    n_runs = 0
    for name, study in studies.STUDIES.items():
        for run in records.read(repo / "data" / "studies" / f"{name}.json")["runs"]:
            assert run["key"] == study.full[run["setting"]].key, (name, run["setting"])
            n_runs += 1
    assert n_runs >= 150


def test_a_setting_can_begin_with_the_shipped_model():
    shipped = load_model()[0]
    setting = Setting().changed({"start": "shipped", "rope_scaling": {"rope_type": "ntk", "factor": 4.0}})
    assert dataclasses.replace(setting.model, rope_scaling=None) == shipped.config == SHIPPED
    model = setting.changed({"n_steps": 3}).new_model(5)
    assert all(torch.equal(one, model.state_dict()[name]) for name, one in shipped.state_dict().items())
    assert not torch.equal(model.freqs, shipped.freqs) and not model.training


def test_a_setting_can_begin_with_a_model_whose_kv_heads_are_made_fewer():
    """Against the sibling's own weights, head by head; what is drawn depends on the seed, and nothing else does."""
    sibling = load_model("mha")[0]
    setting = Setting().changed({"start": "mha"})
    assert setting.model == sibling.config == MHA
    assert all(torch.equal(one, sibling.state_dict()[name]) for name, one in setting.new_model(4).state_dict().items())
    fewer = {how: setting.changed({"n_kv_heads": 2, "convert": how}) for how in ("mean", "first", "drawn")}
    made = {how: one.new_model(4) for how, one in fewer.items()}
    theirs = sibling.blocks[3].attention.v_proj.weight.view(8, 16, 96)
    expected = {"mean": torch.stack([sum(theirs[:4]) / 4, sum(theirs[4:]) / 4]), "first": theirs[[0, 4]]}
    for how, heads in expected.items():
        ours = made[how].blocks[3].attention.v_proj.weight
        torch.testing.assert_close(ours, heads.reshape(32, 96))
        assert torch.equal(ours, fewer[how].new_model(5).blocks[3].attention.v_proj.weight)
        assert torch.equal(made[how].blocks[3].attention.q_proj.weight, sibling.blocks[3].attention.q_proj.weight)
        assert fewer[how].n_parameters == sum(one.numel() for one in made[how].parameters())
    keys = [fewer["drawn"].new_model(seed).blocks[0].attention.k_proj.weight for seed in (4, 4, 5)]
    assert torch.equal(keys[0], keys[1]) and not torch.equal(keys[0], keys[2])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"convert": "mean"}, "of a model that is trained; got 'mean' with start 'drawn'"),
        ({"start": "mha", "convert": "median"}, "convert to be one of mean, first, drawn"),
        ({"start": "mha", "n_kv_heads": 2}, "the model 'mha' has 8 kv heads, expected convert with 2"),
    ],
)
def test_a_conversion_that_makes_no_sense_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        Setting().changed(changes)


def test_what_is_drawn_runs_with_every_seed_even_without_training():
    study = studies.UPTRAINING
    untrained = [name for name in study.settings if not name.endswith(", trained")]
    assert {name: study.seeds_of(name) for name in untrained} == {
        name: study.seeds if "drawn" in name else study.seeds[:1] for name in untrained
    }
    # seed 0 is the sibling's own: its documents were read before
    assert 0 not in study.seeds and all(
        study.full[name].training.n_steps for name in study.settings if "trained" in name
    )


def test_documents_of_a_row_in_one_context_are_asked_the_same():
    apart, together = Setting().batches(1)(600), Setting().changed({"apart": False}).batches(1)(600)
    assert torch.equal(apart.tokens, together.tokens) and torch.equal(apart.targets, together.targets)
    assert apart.mask is not None and together.mask is None and together.positions is None


def test_what_trains_nothing_runs_once_and_stands_for_every_seed(tmp_path):
    study = Study(
        "once", "?", {"as it is": {}, "tuned": {"n_steps": 1}},
        seeds=(3, 5),
        base={"start": "shipped", "n_steps": 0, "seq_len": 16, "batch_size": 1, "lists_first": 0},
        measure=Examination(skills=("senses",), n=3, n_documents=1, said_again=False),
    )  # fmt: skip
    assert study.runs == [("as it is", 3), ("tuned", 3), ("tuned", 5)]
    runner = Runner(tmp_path, tmp_path / "runs", jobs=1)
    assert "3 runs, 0 of them recorded" in command.budget(runner, 3, runner.missing(study))
    for run in runner.missing(study):
        made, result = trained(run, tmp_path / f"{run.name} {run.seed}", 1)
        runner.keep(run, result | {"measuring": 0.1, "measured": study.measure(made, run.setting)})
    found = opened(study, tmp_path)
    assert found.values("as it is", "senses").keys() == found.values("tuned", "senses").keys() == {3, 5}
    assert "Recorded, not run here: 3 runs, seeds 3, 5," in repr(found)
    assert found.difference("tuned", "bits per byte").n == 2 and not runner.missing(study)
    assert [line.split(": ")[1] for line in command.standing(runner, study)][1:] == [
        "1 of 1 recorded",
        "2 of 2 recorded",
    ]
    score = found.score("tuned", "senses", "senses", seed=5)
    assert score.total == 6 and score.low < score.accuracy <= score.high <= 1
    with pytest.raises(ValueError, match="no counts of bits per byte in 'tuned'; there are senses"):
        found.score("tuned", "bits per byte")


def test_equal_seeds_read_the_same_documents():
    one, other = Setting(), Setting().changed({"ffn": "relu"})
    assert torch.equal(one.batches(2)(700).tokens, other.batches(2)(700).tokens)
    assert not torch.equal(one.batches(2)(700).tokens, one.batches(3)(700).tokens)


@pytest.mark.parametrize("name", studies.FFN.settings)
def test_parameters_are_those_of_the_model(name):
    setting = studies.FFN.full[name]
    assert setting.n_parameters == sum(one.numel() for one in setting.new_model(0).parameters())


# `scaling` asks what sizes do; a converted model is smaller than what it was made of.
@pytest.mark.parametrize("name", sorted(set(studies.STUDIES) - {"scaling", "uptraining"}))
def test_the_settings_of_a_study_have_equal_parameters(name):
    """Within a thousandth; a feed-forward layer that is not there has no norm either, and 331 units are 330⅔."""
    counts = [setting.n_parameters for setting in studies.STUDIES[name].full.values()]
    assert max(counts) - min(counts) <= 0.001 * min(counts)


def test_tokenizers_differ_in_numbers_only():
    """Each digit a token of its own; up to three together; any number, with the space before it."""
    sums = [one.text for one in islice(world.documents(0, skills="sums"), 400)]
    made = {how: BPETokenizer.train(sums, 900, pattern=pattern) for how, pattern in DIGITS.items()}
    assert list(made) == ["alone", "in threes", "as they come"]
    text = "If you have 27 nuts and find 27 more, you have 54 nuts."
    numbers = {
        how: [piece for token in one.encode(text) if (piece := one.decode([token])).strip().isdigit()]
        for how, one in made.items()
    }
    assert numbers["alone"] == list("272754")
    assert numbers["in threes"] == ["27", "27", "54"] and numbers["as they come"] == [" 27", " 27", " 54"]
    for pattern in DIGITS.values():
        assert [piece for piece in regex.findall(pattern, text) if not piece.strip().isdigit() and piece != " "] == [
            "If", " you", " have", " nuts", " and", " find", " more", ",", " you", " have", " nuts", ".",
        ]  # fmt: skip


def test_the_shipped_tokenizer_is_the_one_with_digits_alone():
    assert Setting().tokenizer().merges == load_model()[1].merges


# What is measured ---------------------------------------------------------------------------------------------------


def test_examination_counts_right_answers_and_sums_surprise():
    setting = TINY.full["ReLU"]
    model, tokenizer = setting.new_model(0), setting.tokenizer()
    found = Examination(skills=("facts_true", "senses"), n=12, n_documents=3, said_again=True)(model, setting)
    start = tokenizer.special_tokens["<s>"]
    for skill in ("facts_true", "senses"):
        nats, right = 0.0, 0
        for item in world.items(skill, 12):
            prompt, answer = tokenizer.encode(item.prompt), tokenizer.encode(item.answer)
            logits = model(torch.tensor([[start, *prompt, *answer]]))[0].double()
            asked = range(len(prompt), len(prompt) + len(answer))
            nats -= sum(logits[at].log_softmax(-1)[token].item() for at, token in zip(asked, answer, strict=True))
            right += all(logits[at].argmax() == token for at, token in zip(asked, answer, strict=True))
        assert found[skill][:2] == [right, 12] and found[skill][2] == pytest.approx(nats / 12, abs=6e-4)
    assert measures(found)["facts_true"] == found["facts_true"][0] / 12
    assert measures(found)["senses" + NATS] == found["senses"][2]


def test_bits_per_byte_is_the_loss_over_the_bytes():
    setting = TINY.full["SwiGLU"]
    model, tokenizer = setting.new_model(0), setting.tokenizer()
    texts = ["The capital of France is Paris.", "早上好 means good morning."]
    nats = 0.0
    for text in texts:
        ids = torch.tensor([[tokenizer.special_tokens["<s>"], *tokenizer.encode(text)]])
        nats += torch.nn.functional.cross_entropy(model(ids[:, :-1])[0], ids[0, 1:], reduction="sum").item()
    expected = nats / math.log(2) / sum(len(text.encode()) for text in texts)
    assert bits_per_byte(model, texts, tokenizer) == pytest.approx(expected, rel=1e-5)


def test_what_is_asked_has_a_checksum_that_sees_every_text():
    base = Examination(skills=("senses",), n=5, n_documents=2)
    same = Examination(skills=("senses",), n=5, n_documents=2)
    others = [Examination(skills=("senses",), n=6, n_documents=2), Examination(skills=("senses",), n=5, n_documents=3)]
    setting = TINY.full["SwiGLU"]
    assert base.checksum(setting) == same.checksum(setting)
    assert base.checksum(setting) not in [other.checksum(setting) for other in others]
    assert base.checksum(setting) != base.checksum(setting.changed({"mixture": {"sums": 1}}))
    assert base.documents(setting)[0] == world.document(UNSEEN, 0, skills=("facts_true",)).text


def test_the_loss_by_place_is_that_of_each_token_alone():
    """Bands against one token at a time, over its own prefix of the row."""
    setting = dataclasses.replace(TINY.full["ReLU"], apart=False)
    model, measure = setting.new_model(0), ByPosition(rows=2, seq_len=24, ends=(8, 24))
    batch = measure.batch(setting)
    assert batch.mask is None and batch.tokens.shape == (2, 24)
    nats = {}
    for row, target in zip(batch.tokens, batch.targets, strict=True):
        for t in range(24):
            if target[t] >= 0:
                own = model(row[None, : t + 1])[0, -1].double().log_softmax(-1)[target[t]]
                nats.setdefault(t, []).append(-own.item())
    found = measure.bands(model, setting)
    for name, places in (("loss at 0–7", range(8)), ("loss at 8–23", range(8, 24))):
        losses = [one for t in places for one in nats.get(t, [])]
        assert found[name] == pytest.approx(sum(losses) / len(losses), abs=2e-4)
    learned = setting.changed({"position": "learned", "max_seq_len": 8})
    found = measure.bands(learned.new_model(0), learned)
    assert found["loss at 0–7"] > 0 and found["loss at 8–23"] is None
    assert list(measures(found)) == ["loss at 0–7"]


def test_by_place_reads_packed_rows_as_training_does():
    setting = TINY.full["SwiGLU"]
    model, batch = setting.new_model(0), setting.batches(0)(0)
    losses, asked = by_place(model, batch, 64)
    logits = model(batch.tokens, positions=batch.positions, mask=batch.mask)
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORE)
    assert (losses.sum() / asked.sum()).item() == pytest.approx(expected.item(), rel=1e-5)
    assert asked.sum() == (batch.targets != IGNORE).sum()


def test_longer_texts_are_whole_and_what_is_asked_of_them_is_counted():
    setting = studies.LONGER.full["yarn"]
    measure = Longer(skills=("copying",), n=2, n_at=1, rows=2, n_sentences=(16,), short=32)
    found, batch = measure(setting.new_model(0), setting), measure.batch(setting)
    assert (
        batch.tokens.shape == (2, 768) and (batch.targets[:, :740] >= 0).all()
    )  # 50 sentences have 750 tokens or more
    assert {name: value[1] for name, value in found.items() if isinstance(value, list)} == {
        "copying": 2, **{f"finding 16 at {depth}": 1 for depth in (0, 0.25, 0.5, 0.75, 1)},
    }  # fmt: skip
    assert (
        found["loss at 512–767"]
        < 2
        < 5
        < Longer.bands(measure, studies.LONGER.full["as it is"].new_model(0), setting)["loss at 512–767"]
    )
    assert measure.checksum(setting) != dataclasses.replace(measure, n_at=2).checksum(setting)
    assert "<s>" not in setting.tokenizer().decode(batch.tokens[0, 1:700].tolist())


# Runs ---------------------------------------------------------------------------------------------------------------

RUNS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from studying import TINY
from llmlab.studies.running import Runner
if __name__ == "__main__":
    runner = Runner(Path(sys.argv[1]), Path(sys.argv[2]), jobs=2, save_every=5)
    sys.exit(0 if runner.go(runner.missing(TINY)) else 130)
"""


def started(folder):
    """A process that runs the tiny study, in a session of its own."""
    script = folder / "run.py"
    script.write_text(RUNS)
    arguments = [
        sys.executable,
        str(script),
        str(folder / "recorded"),
        str(folder / "runs"),
        str(Path(__file__).parent),
    ]
    return subprocess.Popen(arguments, start_new_session=True, stdout=subprocess.PIPE, text=True)


def numbers(folder):
    """What the record of the tiny study holds, but for times."""
    record = records.read(folder / "recorded" / "tiny.json")
    return [
        {name: value for name, value in run.items() if name not in ("seconds", "measuring")} for run in record["runs"]
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a study that ran without an interruption."""
    folder = tmp_path_factory.mktemp("study")
    process = started(folder)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0 and said.count("minutes") == 4, said
    return folder


def states(folder):
    """The saved states of the runs, each with when it was written."""
    found = {}
    for path in folder.glob("runs/*/state.safetensors"):
        with suppress(FileNotFoundError):  # its run has ended in between
            found[path] = path.stat().st_mtime_ns
    return found


@contextmanager
def begun(folder):
    """The tiny study in a process of its own, after a run has saved a state; then it stops and is not at its end."""
    before = states(folder)
    process = started(folder)
    while states(folder).items() <= before.items():
        assert process.poll() is None, "the study ended before it was stopped"
        time.sleep(0.02)
    yield process
    path = folder / "recorded" / "tiny.json"
    assert not path.exists() or len(records.read(path)["runs"]) < 4


def test_a_stopped_study_goes_on_and_ends_with_the_same_numbers(whole, tmp_path):
    """Stopped in each way that there is, one after the other, and each time begun again."""
    with begun(tmp_path) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.read()  # its runs stop by themselves: this ends when the last that could write to it is gone
    with begun(tmp_path) as process:
        os.killpg(process.pid, signal.SIGKILL)  # the study and its runs
        assert process.wait() == -signal.SIGKILL
    with begun(tmp_path) as process:
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(timeout=60) == 130
    process = started(tmp_path)
    assert process.wait(timeout=300) == 0
    assert numbers(tmp_path) == numbers(whole)


def test_a_run_equals_the_plain_trainer(whole):
    """The record's curve and figures, from a loop that knows nothing of studies."""
    setting = TINY.full["ReLU"]
    trainer = Trainer(setting.new_model(1), setting.batches(1), dataclasses.replace(setting.training, seed=1))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        losses = [step.loss for step in trainer]
    finally:
        torch.set_num_threads(threads)
    (run,) = [one for one in numbers(whole) if (one["setting"], one["seed"]) == ("ReLU", 1)]
    n = len(losses) // 10
    tenths = [sum(losses[part * n : (part + 1) * n]) / n for part in range(10)]
    assert run["curve"] == pytest.approx(tenths, abs=2e-3)
    theirs = TINY.measure(trainer.model, setting)
    assert run["measured"]["bits per byte"] == pytest.approx(theirs["bits per byte"], abs=2e-3)


def test_studies_that_ask_for_the_same_run_share_it():
    laboratory = studies.LABORATORY
    for study in (studies.FFN, studies.KV_HEADS):
        assert Run.of(study, study.reference, 2) == Run(laboratory, "laboratory", 2)
        others = [name for name in study.settings if name != study.reference]
        assert all(Run.of(study, name, 2).study is study for name in others)
    assert Run.of(studies.DIGITS, "digits alone", 0).study is studies.DIGITS  # it asks other questions


def test_a_run_that_fails_is_recorded_with_its_reason_and_tried_again_only_when_asked(tmp_path):
    study = dataclasses.replace(
        TINY, name="fails", settings={"SwiGLU": {}, "diverges": {"learning_rate": 1e30}}, seeds=(0,)
    )
    runner = Runner(tmp_path, tmp_path / "runs", jobs=2)
    assert runner.go(runner.missing(study))
    assert runner.missing(study) == [] and [run.name for run in runner.missing(study, retry=True)] == ["diverges"]
    recorded = opened(study, tmp_path)
    ((setting, seed, reason),) = recorded.failed
    assert (setting, seed) == ("diverges", 0) and "FloatingPointError: the gradient is not finite at step" in reason
    assert recorded.runs["diverges"] == {} and f"Failed: diverges, seed 0 ({reason})" in repr(recorded)
    assert any("diverges: 0 of 1 recorded; failed: seeds 0" in line for line in command.standing(runner, study))


def test_the_curve_is_the_mean_of_tenths():
    assert curve([float(number) for number in range(100)]) == [4.5 + 10 * part for part in range(10)]
    assert curve([3.0, 1.0]) == [3.0, 1.0] and curve([]) == []


# Records ------------------------------------------------------------------------------------------------------------


def test_a_record_says_how_it_was_made(whole):
    record = records.read(whole / "recorded" / "tiny.json")
    assert record["command"] == "llmlab study tiny" and record["question"] == TINY.question
    assert record["versions"]["torch"] == torch.__version__ and record["versions"]["python"].count(".") == 2
    assert record["laboratory"] == json.loads(json.dumps(Setting().to_dict()))
    for name, of in record["settings"].items():
        assert of["parameters"] == TINY.full[name].n_parameters and of["changes"] == {
            **TINY.base,
            **TINY.settings[name],
        }
    assert [(run["setting"], run["seed"]) for run in record["runs"]] == [
        (name, seed) for name in TINY.settings for seed in TINY.seeds
    ]
    assert all(run["seconds"] > 0 for run in record["runs"])


def test_a_record_above_20_kilobytes_is_refused_and_what_stood_there_stays(tmp_path):
    path = tmp_path / "tiny.json"
    record = records.new_record(TINY)
    records.write(path, record)
    before = path.read_bytes()
    run = {"setting": "SwiGLU", "seed": 0, "key": "k", "failed": "x" * 20_000}
    with pytest.raises(ValueError, match=r"the record of 'tiny' has \d+ bytes, expected at most 20000"):
        records.write(path, record | {"runs": [run]})
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ["", "{", "{}", '{"runs": [{"seed": 1}]}', '{"runs": [3]}'])
def test_a_damaged_record_is_named(tmp_path, text):
    path = tmp_path / "tiny.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"tiny.json is not the record of a study"):
        opened(TINY, tmp_path)


def test_a_study_that_does_not_exist_or_never_ran_is_named(tmp_path):
    with pytest.raises(ValueError, match="unknown study 'fnf'; expected one of: laboratory, ffn"):
        studies.load("fnf")
    with pytest.raises(FileNotFoundError, match="nothing is recorded of the study 'tiny'; `llmlab study tiny` runs it"):
        opened(TINY, tmp_path)


def test_tables_and_differences_are_those_of_the_record(whole):
    recorded = opened(TINY, whole / "recorded")
    by_run = {(run["setting"], run["seed"]): run["measured"]["bits per byte"] for run in numbers(whole)}
    one = recorded.difference("ReLU", "bits per byte")
    assert one.values == tuple(by_run["ReLU", seed] - by_run["SwiGLU", seed] for seed in TINY.seeds)
    assert recorded.difference("SwiGLU", "bits per byte", to="ReLU").mean == pytest.approx(-one.mean)
    shown, compared = repr(recorded.table()), repr(recorded.compared(["bits per byte"]))
    mean = sum(by_run["ReLU", seed] for seed in TINY.seeds) / 2
    assert f"{mean:.3f} ± " in shown and "Recorded, not run here: 4 runs, seeds 0, 1" in shown
    assert one.verdict in compared and "Each less SwiGLU, paired by seed" in compared
    assert "Of 1 comparisons about 0.05 would be found to differ by luck alone." in compared
    assert recorded.table()._repr_markdown_().splitlines()[1].count("---") == 3
    with pytest.raises(ValueError, match="unknown measure 'charm'; the study 'tiny' has bits per byte, facts_true"):
        recorded.values("ReLU", "charm")
    with pytest.raises(ValueError, match="unknown setting 'GELU'; the study 'tiny' has SwiGLU, ReLU"):
        recorded.mean("GELU", "facts_true")


def test_the_plot_has_its_numbers_as_text(whole):
    recorded = opened(TINY, whole / "recorded")
    shown = recorded.plot(["bits per byte", "facts_true" + NATS])
    assert shown.png.startswith(b"\x89PNG")
    assert str(recorded.difference("ReLU", "bits per byte")) in shown.alt and "facts_true, nats" in shown.alt


# What has become stale ----------------------------------------------------------------------------------------------


def test_another_package_makes_a_record_stale(whole, monkeypatch):
    runner = Runner(whole / "recorded", whole / "runs")
    run = Run(TINY, "ReLU", 0)
    assert command.stale(runner, run) is None
    document = world.document
    monkeypatch.setattr(world, "document", lambda seed, index, **more: document(seed, index + 1, **more))
    assert command.stale(runner, run) == "what it reads"
    monkeypatch.undo()
    reset = Setting.new_model
    monkeypatch.setattr(Setting, "new_model", lambda self, seed: reset(self, seed + 1))
    assert command.stale(runner, run) == "its first losses"
    monkeypatch.undo()
    items = world.items
    monkeypatch.setattr(world, "items", lambda skill, n: items(skill, n, seed=2))
    assert command.stale(runner, run) == "what is asked at the end"


def test_losses_that_differ_by_rounding_are_not_stale():
    today = {"key": "k", "read": [1, 2], "losses": [8.0, 7.0], "asked": 5}
    assert records.same(today, today | {"losses": [8.00001, 7.00001]}) is None
    assert records.same(today, today | {"losses": [8.0, 7.1]}) == "its first losses"
    assert records.same(None, today) == "no fingerprint"


def test_runs_on_the_way_belong_to_what_the_package_does(monkeypatch):
    before = what_it_does(TINY.full["ReLU"])
    reset = Setting.new_model
    monkeypatch.setattr(Setting, "new_model", lambda self, seed: reset(self, seed + 1))
    monkeypatch.setattr("llmlab.studies.running._NAMES", {})
    assert what_it_does(TINY.full["ReLU"]) != before


@pytest.mark.parametrize("name", studies.STUDIES)
def test_what_ships_is_recorded_by_this_package(name, repo):
    """Each setting of each study, by its documents, first losses and questions: a stale record is no result."""
    runner = Runner(repo / "data" / "studies", repo / "runs" / "studies")
    for setting in studies.STUDIES[name].settings:
        run = Run.of(studies.STUDIES[name], setting, studies.STUDIES[name].seeds[0])
        assert runner.found(run), f"{run} is not recorded"
        assert command.stale(runner, run) is None, f"{run}"


@pytest.mark.parametrize("name", studies.STUDIES)
def test_shipped_records_are_small_and_say_what_failed(name):
    recorded = studies.load(name)
    size = (Path(studies.__file__).parents[2] / "data" / "studies" / f"{name}.json").stat().st_size
    usual = 40_000 if recorded.study.watch else 20_000
    assert size <= recorded.study.limit <= (120_000 if isinstance(recorded.study.measure, studies.Answers) else usual)
    for setting in recorded.study.settings:
        once = recorded.study.trains_nothing(setting)
        assert len(recorded.runs[setting]) >= len(recorded.study.seeds if once else recorded.study.seeds_of(setting))


# The command --------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny_command(monkeypatch):
    monkeypatch.setitem(studies.STUDIES, "tiny", TINY)


def test_the_command_lists_what_is_recorded_missing_and_stale(whole, tiny_command, capsys, monkeypatch):
    assert main(["study", "--list", "tiny", f"--recorded={whole / 'recorded'}"]) == 0
    assert "  ReLU: 2 of 2 recorded\n" in capsys.readouterr().out
    longer = dataclasses.replace(TINY, seeds=(0, 1, 2))
    monkeypatch.setitem(studies.STUDIES, "tiny", longer)
    document = world.document
    monkeypatch.setattr(world, "document", lambda seed, index, **more: document(seed, index + 1, **more))
    assert main(["study", "--list", "tiny", f"--recorded={whole / 'recorded'}"]) == 0
    assert "  ReLU: 2 of 3 recorded; missing: seeds 2; STALE: what it reads changed since" in capsys.readouterr().out


def test_the_command_states_its_budget_before_it_runs(tiny_command, tmp_path, capsys):
    folders = [f"--recorded={tmp_path}", f"--runs={tmp_path / 'runs'}"]
    assert main(["study", "tiny", "--seeds=1", "--jobs=1", *folders]) == 0
    said = capsys.readouterr().out
    assert said.index("2 runs, 0 of them recorded; 2 to go, at 5.0 minutes for a run of") < said.index("seed 0: 0.")
    assert "on one core, about 0 with 1 side by side" in said
    assert "facts_true     –" in said  # one seed tells nothing of differences
    assert main(["study", "tiny", "--seeds=1", *folders]) == 0
    assert "2 runs, 2 of them recorded; 0 to go" in capsys.readouterr().out


def test_what_is_stale_is_run_again_when_asked(tiny_command, tmp_path, capsys, monkeypatch):
    folders = [f"--recorded={tmp_path}", f"--runs={tmp_path / 'runs'}"]
    assert main(["study", "tiny", "--seeds=1", *folders]) == 0
    path = tmp_path / "tiny.json"
    record = json.loads(path.read_text())
    record["settings"]["ReLU"]["losses"][0] += 1
    path.write_text(json.dumps(record))
    assert main(["study", "tiny", *folders]) == 1
    assert "tiny: ReLU, seed 0 is stale: its first losses changed since; --again runs it" in capsys.readouterr().err
    assert main(["study", "tiny", "--seeds=1", "--again", *folders]) == 0
    assert "2 runs, 1 of them recorded; 1 to go" in capsys.readouterr().out
    assert command.stale(Runner(tmp_path, tmp_path / "runs"), Run(TINY, "ReLU", 0)) is None


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["fnf"], "unknown studies fnf; expected some of: laboratory, ffn, kv_heads, digits"),
        ([], "expected the name of a study, or --list"),
        (["ffn", "--jobs=0"], "expected --jobs and --seeds of at least 1, got 0 and None"),
    ],
)
def test_a_command_that_makes_no_sense_is_named(arguments, message, capsys):
    assert main(["study", *arguments]) == 1
    assert message in capsys.readouterr().err


def test_a_model_of_a_run_can_be_opened(whole):
    (folder,) = (whole / "runs").glob(f"{what_it_does(TINY.full['ReLU'])}-1")
    model = checkpoint.load(folder / "model.safetensors")
    assert model.config == TINY.full["ReLU"].model
