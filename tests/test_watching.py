"""Watched runs: each fault does what it says, a watched run tells what it did, and the record keeps it."""

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from llmlab import studies, world
from llmlab.studies import Setting, Study, Watch, faults
from llmlab.studies.faults import VALIDATION, VALIDATION_ROWS, Unzeroed, evaluating, leaky, unshifted
from llmlab.studies.measures import UnseenLoss
from llmlab.studies.reading import DamagedBatches, reading_order
from llmlab.studies.recorded import opened
from llmlab.studies.running import Run, Runner, trained
from llmlab.studies.watching import AGAIN, folded, letters, unfolded
from llmlab.training import IGNORE, Trainer, WorldBatches, cosine_schedule, validation_loss

SMALL = {
    "d_model": 16, "n_layers": 1, "n_heads": 2, "head_dim": 8, "d_ff": 32, "seq_len": 32, "batch_size": 2,
    "lists_first": 0, "n_steps": 6, "warmup": 2, "dropout": 0.1, "mixture": {"facts_true": 0.6, "senses": 0.4},
}  # fmt: skip
BASE = Setting().changed(SMALL)
WATCH = Watch(
    every=2, validate_every=3, look_every=3, skills=("senses",), n=3, prompts=("The capital of France is",), n_tokens=3
)


def faulty(fault):
    return BASE.changed({"fault": fault})


# The faults ---------------------------------------------------------------------------------------------------------


def test_labels_that_are_not_shifted_are_the_tokens():
    sound, wrong = BASE.batches(0)(1), faulty("unshifted").batches(0)(1)
    assert torch.equal(wrong.targets, wrong.tokens) and torch.equal(wrong.tokens, sound.tokens)
    asked = sound.targets != IGNORE
    assert torch.equal(sound.targets[:, :-1][asked[:, :-1]], sound.tokens[:, 1:][asked[:, :-1]])
    held_out = faulty("unshifted").validation()(0)
    assert torch.equal(held_out.targets, held_out.tokens)


def test_a_leaking_mask_moves_logits_by_the_next_token_and_no_further_one():
    model, batch = BASE.new_model(0), faulty("leak").batches(0)(0)
    sound = BASE.batches(0)(0)
    starts = batch.positions[0].tolist()
    t = next(t for t in range(4, 28) if starts[t : t + 3] == list(range(starts[t], starts[t] + 3)))
    for changed, sees in ((t + 1, True), (t + 2, False)):
        tokens = batch.tokens.clone()
        tokens[0, changed] = (tokens[0, changed] + 1) % 4000
        with torch.no_grad():
            moved = [
                (model(one, positions=batch.positions, mask=mask)[0, t])
                for one, mask in itertools.product((batch.tokens, tokens), (batch.mask, sound.mask))
            ]
        assert torch.equal(moved[0], moved[2]) is not sees  # through the leak
        assert torch.equal(moved[1], moved[3])  # a causal mask tells nothing of later tokens
    # one document never sees another
    n = torch.arange(32)
    ids = (batch.positions == 0).cumsum(1)  # (B, T)
    expected = (ids[:, :, None] == ids[:, None, :]) & (n[None, :, None] + 1 >= n[None, None, :])
    assert torch.equal(batch.mask[:, 0], expected)


def test_gradients_that_are_not_zeroed_are_added_up_as_clipping_left_them():
    """Two steps by hand, with autograd and no trainer."""
    setting = faulty("unzeroed").changed({"dropout": 0.0, "learning_rate": 0.0, "clip": 0.5})
    assert isinstance(setting.trainer(0), Unzeroed)
    model, batch, kept, norms = setting.new_model(0), setting.batches(0), None, []
    for step in range(3):
        model.zero_grad()
        one = batch(step)
        logits = model(one.tokens, positions=one.positions, mask=one.mask)
        nn.functional.cross_entropy(logits.flatten(0, 1), one.targets.flatten(), ignore_index=IGNORE).backward()
        grads = [p.grad + (0 if kept is None else kept[number]) for number, p in enumerate(model.parameters())]
        norm = torch.stack([grad.norm() for grad in grads]).norm()
        norms.append(norm.item())
        kept = [grad * min(1.0, 0.5 / norm.item()) for grad in grads]
    steps = list(itertools.islice(setting.trainer(0), 3))
    assert [step.gradient_norm for step in steps] == pytest.approx(norms, rel=1e-4)
    sound = list(itertools.islice(setting.changed({"fault": "none"}).trainer(0), 3))
    assert steps[0].gradient_norm == pytest.approx(sound[0].gradient_norm, rel=1e-6)
    assert steps[1].gradient_norm != pytest.approx(sound[1].gradient_norm, rel=1e-2)


def test_rows_of_the_validation_stand_in_training_where_they_should_not():
    setting = faulty("validation read").changed({"n_steps": 40})
    held_out, batches, sound = setting.validation(), setting.batches(0), BASE.batches(0)
    rows = torch.cat([held_out(number).tokens for number in range(VALIDATION_ROWS // 2)])
    assert len(rows) == VALIDATION_ROWS
    for step in (0, 1, 15, 16, 39):
        batch = batches(step)
        assert torch.equal(batch.tokens[0], rows[step % VALIDATION_ROWS])
        assert torch.equal(batch.tokens[1:], sound(step).tokens[1:])
        assert torch.equal(batch.mask[1:], sound(step).mask[1:])
    assert all(not (row == rows).all(-1).any() for step in range(40) for row in sound(step).tokens)


def test_dropout_that_is_left_on_makes_the_evaluation_draw_and_the_training_does_not_notice():
    model = BASE.changed({"dropout": 0.5}).new_model(0).train()
    tokens = torch.arange(8)[None]
    before = torch.get_rng_state()
    with evaluating(model, "dropout on", 1), torch.no_grad():
        assert not model.training
        first, second = model(tokens), model(tokens)
    with evaluating(model, "none", 1), torch.no_grad():
        assert torch.equal(model(tokens), model(tokens))
    assert not torch.equal(first, second) and torch.equal(torch.get_rng_state(), before)
    assert model.training and all(one.training for one in model.modules())


def test_documents_sorted_by_skill_come_one_skill_after_the_other_by_their_shares():
    batches = faulty("sorted").changed({"n_steps": 20}).batches(3)
    skills = [{read.document.skill for read in itertools.islice(batches.documents(step), 5)} for step in range(20)]
    assert skills == [{"facts_true"}] * 12 + [{"senses"}] * 8


def test_a_fault_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match=r"fault to be one of none, unshifted, leak, .*; got 'leek'"):
        faulty("leek")
    with pytest.raises(ValueError, match="noise from 0 to 1 and repeat of at least 0, got 2 and 0"):
        BASE.changed({"noise": 2})
    with pytest.raises(ValueError, match="lists_first of 0 with repeat, got 400"):
        Setting().changed({"repeat": 3})


# Damaged and repeated texts -----------------------------------------------------------------------------------------


def test_a_share_of_the_documents_is_damaged_and_the_others_are_those_of_the_clean_run():
    clean = WorldBatches(BASE.tokenizer(), 2, 32, seed=4, skills=BASE.mixture)
    noisy = BASE.changed({"noise": 0.5}).batches(4)
    assert isinstance(noisy, DamagedBatches)
    pairs = list(zip(itertools.islice(clean.documents(2), 400), itertools.islice(noisy.documents(2), 400), strict=True))
    changed = [one.document.text != other.document.text for one, other in pairs]
    assert all(one.ids == other.ids for (one, other), damaged in zip(pairs, changed, strict=True) if not damaged)
    # half are chosen, and of these a document of s sentences stays clean with chance 1 / 2^s, one in two at most
    assert 0.25 - 0.1 < sum(changed) / 400 < 0.5 + 0.1
    assert [one.document.skill for one, _ in pairs] == [other.document.skill for _, other in pairs]


def test_repeated_batches_are_all_read_equally_often_and_in_another_order_each_time():
    setting = BASE.changed({"repeat": 5})
    orders = [[reading_order(step, 5, 7) for step in range(5 * again, 5 * again + 5)] for again in range(4)]
    assert all(sorted(order) == list(range(5)) for order in orders) and len({tuple(order) for order in orders}) > 1
    fresh, batches = BASE.batches(7), setting.batches(7)
    for step, number in enumerate(itertools.chain(*orders)):
        assert torch.equal(batches(step).tokens, fresh(number).tokens)


# Watching -----------------------------------------------------------------------------------------------------------


def watched(setting, watch=WATCH):
    """The lines of a run, with the steps themselves."""
    trainer = setting.trainer(0)
    steps = [(step, watch(trainer, setting, step)) for step in trainer]
    return trainer, [step for step, _ in steps], [line for _, line in steps if line]


def test_watching_changes_nothing_of_the_training():
    plain = [step.loss for step in BASE.trainer(0)]
    for fault in ("none", "dropout on"):
        _, steps, _ = watched(faulty(fault))
        assert [step.loss for step in steps] == plain


def test_lines_say_what_the_run_did():
    trainer, steps, lines = watched(BASE)
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 4, 6]
    assert [line["step"] for line in lines if "validation_loss" in line] == [3, 6]
    for line in lines:
        if "loss" in line:
            assert line["loss"] == pytest.approx(steps[line["step"] - 1].loss, rel=1e-3)
            assert line["norm"] == pytest.approx(steps[line["step"] - 1].gradient_norm, rel=1e-3)
    held_out = WorldBatches(BASE.tokenizer(), 2, 32, seed=VALIDATION, skills=BASE.mixture)
    expected = validation_loss(trainer.model, held_out, VALIDATION_ROWS // 2)
    assert lines[-1]["validation_loss"] == pytest.approx(expected, rel=1e-3)
    right = world.answers(trainer.model, world.items("senses", 3), tokenizer=BASE.tokenizer())
    assert lines[-1]["skills"] == {"senses": pytest.approx(sum(right) / 3, abs=1e-3)}
    first, again = lines[-1]["samples"].values()
    assert first == again and list(lines[-1]["samples"])[1].endswith(AGAIN)


def test_a_faulty_run_computes_its_validation_as_it_trains():
    for fault, view in (("unshifted", unshifted), ("leak", leaky)):
        trainer, _, lines = watched(faulty(fault))
        held_out = WorldBatches(BASE.tokenizer(), 2, 32, seed=VALIDATION, skills=BASE.mixture)
        expected = validation_loss(trainer.model, lambda step, of=held_out, see=view: see(of(step)), 8)
        assert lines[-1]["validation_loss"] == pytest.approx(expected, rel=1e-3)
    on = faulty("dropout on").changed({"dropout": 0.5})
    trainer, _, lines = watched(on)
    without = validation_loss(trainer.model, on.validation(), 8)
    assert lines[-1]["validation_loss"] != pytest.approx(without, rel=1e-4)


def test_lines_survive_their_columns():
    _, _, lines = watched(BASE)
    curve = unfolded(json.loads(json.dumps(folded(lines))), "run A", 6)
    assert curve.lines == lines and curve.name == "run A" and curve.n_steps == 6
    assert curve.skills == ("senses",) and [step for step, _ in curve.samples] == [3, 6]


@pytest.mark.parametrize("fault", ["unzeroed", "dropout on", "sorted"])
def test_a_watched_run_that_was_stopped_ends_with_the_same_lines(tmp_path, fault):
    study = Study("w", "?", {fault: {"fault": fault}}, seeds=(0,), base=SMALL, watch=WATCH, measure=UnseenLoss(rows=2))
    run = Run(study, fault, 0)
    whole, end = trained(run, tmp_path / "whole", 100)
    asked = itertools.count()
    assert trained(run, tmp_path / "stopped", 100, lambda: next(asked) >= 3) is None
    state = tmp_path / "stopped" / "state.safetensors"
    assert state.exists()
    model, other = trained(run, tmp_path / "stopped", 100)
    assert end["watched"] == other["watched"] and end["curve"] == other["curve"]
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), model.parameters(), strict=True))


def test_a_recorded_study_gives_its_curves_under_names_that_tell_nothing(tmp_path):
    study = Study(
        "w", "?", {"sound": {}, "labels": {"fault": "unshifted"}},
        seeds=(0,), base=SMALL, watch=WATCH, measure=UnseenLoss(rows=2),
    )  # fmt: skip
    runner = Runner(tmp_path, tmp_path / "runs", jobs=1)
    for run in runner.missing(study):
        model, result = trained(run, tmp_path / run.name, 100)
        runner.keep(run, result | {"measuring": 0.1, "measured": study.measure(model, run.setting)})
    recorded = opened(study, tmp_path)
    assert list(recorded.watched) == ["run A", "run B"] and set(recorded.causes.values()) == {"sound", "labels"}
    for letter, curve in recorded.watched.items():
        _, _, lines = watched(study.full[recorded.causes[letter]])
        assert curve.lines == lines and curve.n_steps == 6
    with pytest.raises(ValueError, match="the study 'ffn' watched no run"):
        _ = studies.load("ffn").watched
    assert sorted(letters("abc").values()) == ["a", "b", "c"]


def test_the_loss_of_unseen_rows_is_the_honest_one_whatever_the_fault():
    measure = UnseenLoss(rows=3)
    model = BASE.new_model(0)
    found = [measure(model, faulty(fault)) for fault in faults.FAULTS]
    assert all(one == found[0] for one in found)
    total = count = 0
    for batch in measure.batches(BASE):
        logits = model(batch.tokens, positions=batch.positions, mask=batch.mask)[0].log_softmax(-1)
        for place, target in enumerate(batch.targets[0].tolist()):
            if target != IGNORE:
                total, count = total - logits[place, target].item(), count + 1
    assert found[0]["loss"] == pytest.approx(total / count, abs=2e-4)


# The studies --------------------------------------------------------------------------------------------------------


def test_the_nine_runs_differ_from_the_sound_one_in_one_thing():
    study = studies.FAULTS
    assert len(study.settings) == 9 and study.settings["sound"] == {} and study.runs == [(n, 0) for n in study.settings]
    named = [changes for name, changes in study.settings.items() if name != "sound"]
    assert all(len(changes) == 1 for changes in named)
    used = {changes["fault"] for changes in named if "fault" in changes}
    assert used == set(faults.FAULTS) - {"none"}
    sound = study.full["sound"]
    assert sound.model.dropout > 0 and sound.training.warmup > 0 == study.full["no warm-up"].training.warmup
    assert study.full["rate too high"].training.learning_rate > 2 * sound.training.learning_rate
    assert type(sound.trainer(0)) is Trainer
    assert dataclasses.replace(sound, fault="leak") == study.full["a mask that leaks"]
    order = list(letters(study.settings).values())
    assert order[0] != "sound" and order != list(study.settings)


def test_noisy_and_clean_read_as_many_tokens_and_the_small_sets_are_read_several_times():
    full = studies.NOISY.full
    assert len({one.training for one in full.values()}) == len({one.model.d_model for one in full.values()}) == 1
    small, large = full["small, clean"], full["large, clean"]
    assert small.training.n_steps % small.repeat == 0 and small.training.n_steps // small.repeat == 8
    assert (large.noise, large.repeat, small.noise) == (0, 0, 0) and full["large, noisy"].noise == 0.5
    assert full["small, noisy"].repeat == small.repeat


@pytest.fixture(scope="module")
def shipped():
    """The shipped curves by their causes, and the record."""
    recorded = studies.load("faults")
    return {recorded.causes[letter]: curve for letter, curve in recorded.watched.items()}, recorded


def test_shipped_curves_are_whole_and_say_the_rates_of_their_settings(shipped):
    curves, recorded = shipped
    assert set(curves) == set(studies.FAULTS.settings) and list(recorded.watched) == [f"run {c}" for c in "ABCDEFGHI"]
    sound, watch = curves["sound"], studies.FAULTS.watch
    for cause, curve in curves.items():
        training = studies.FAULTS.full[cause].training
        steps, rates = curve.column("lr")
        assert steps[0] == 1 and steps[-1] == curve.n_steps == training.n_steps and np.diff(steps).max() <= watch.every
        expected = [
            cosine_schedule(
                int(step) - 1, n_steps=training.n_steps, peak=training.learning_rate, warmup=training.warmup,
                floor=training.floor * training.learning_rate,
            )
            for step in steps
        ]  # fmt: skip
        np.testing.assert_allclose(rates, expected, rtol=6e-3)
        assert curve.skills == watch.skills and len(curve.samples) == 5
        assert len(curve.column("validation_loss")[0]) == training.n_steps // watch.validate_every
    # equal seeds read the same batch first: the first loss tells of the labels and the mask alone
    first = {cause: curve.column("loss")[1][0] for cause, curve in curves.items()}
    alike = set(curves) - {"labels not shifted", "a mask that leaks", "validation text in training", "sorted by skill"}
    assert {first[cause] for cause in alike} == {first["sound"]}
    assert len({*first.values()}) == 1 + len(curves) - len(alike)
    np.testing.assert_array_equal(curves["dropout on in evaluation"].column("loss")[1], sound.column("loss")[1])


def test_shipped_faults_deceive_as_they_must(shipped):
    """What follows from each definition: where the validation is better than what the model is worth, and where not."""
    curves, recorded = shipped
    said = {cause: curve.column("validation_loss")[1][-1] for cause, curve in curves.items()}
    worth = {cause: recorded.mean(cause, "loss").mean for cause in curves}
    for cause in ("labels not shifted", "a mask that leaks"):  # asked for what they see, and then without it
        assert said[cause] < 0.2 < math.log(4096) / 2 < worth[cause]
        assert all(score == 0 for score in (curves[cause].skill(skill)[1][-1] for skill in curves[cause].skills))
    assert said["validation text in training"] < worth["validation text in training"] - 0.1
    assert said["dropout on in evaluation"] > worth["dropout on in evaluation"] == worth["sound"]
    for cause, curve in curves.items():
        again = [list(texts.values()) for _, texts in curve.samples]
        assert all(texts[0] == texts[-1] for texts in again) or cause == "dropout on in evaluation"
    samples = [list(texts.values()) for _, texts in curves["dropout on in evaluation"].samples]
    assert any(texts[0] != texts[-1] for texts in samples)


def test_what_is_said_of_clean_and_noisy_texts_is_what_is_recorded():
    """The sentences in data/README.md."""
    recorded = studies.load("noisy")
    assert not recorded.difference("small, clean", "loss", to="large, noisy").found
    for skill in ("facts_true", "senses", "analogies"):
        assert recorded.difference("small, clean", skill, to="large, noisy").verdict == "higher"
        assert not recorded.difference("small, clean", skill).found
    assert all(recorded.difference(name, "loss").verdict == "higher" for name in list(recorded.runs)[1:])
    assert "standard error" not in repr(recorded.table()) and len(recorded.mean("small, clean", "loss").values) == 5
