"""The training dashboard in Python: its numbers against plain loops and a trainer run by hand; its thread."""

import json
import math
import threading
import time
from itertools import pairwise

import numpy as np
import pytest
import torch
import traitlets

from llmlab import data_path
from llmlab.config import ModelConfig
from llmlab.training import Batch, Curve, Trainer, TrainingConfig, TrainingStep, new_model
from llmlab.widgets import training
from llmlab.widgets.training import COLUMNS, INTERVAL, LIVE, TAIL, WHOLE, TrainingDashboard, thin

SHAPE = ModelConfig(vocab_size=32, d_model=16, n_layers=1, n_heads=2, n_kv_heads=1, head_dim=8, d_ff=16, max_seq_len=16)
LINES = [json.loads(line) for line in data_path("training.jsonl").read_text(encoding="utf-8").splitlines()]


def batch_of(step):
    tokens = torch.randint(32, (2, 9), generator=torch.Generator().manual_seed(step))
    return Batch(tokens[:, :-1], tokens[:, 1:])


def trainer_of(n_steps=12, rate=1e-2):
    return Trainer(new_model(SHAPE), batch_of, TrainingConfig(n_steps, 2, 8, rate, warmup=2))


def made(n, first=0, loss=lambda step: 1.0 + step):
    """Steps of a loop of one's own."""
    for step in range(first, n):
        yield TrainingStep(step, loss(step), 0.1, 2.0, 1000.0)


def weights(model):
    return {name: one.clone() for name, one in model.state_dict().items()}


def same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


class Gate:
    """Lets a loop of steps go on one by one, as the test says."""

    def __init__(self, n):
        self.go, self.taken, self.n = threading.Semaphore(0), threading.Semaphore(0), n

    def __iter__(self):
        for step in range(self.n):
            assert self.go.acquire(timeout=60)
            yield TrainingStep(step, float(step), 0.1, 1.0, 1.0)
            self.taken.release()  # the dashboard has come back for the next one

    def let(self, n=1):
        for _ in range(n):
            self.go.release()


def until(what, seconds=60):
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.005)
    assert what()


# A recorded run -----------------------------------------------------------------------------------------------------


def test_without_an_argument_it_shows_the_shipped_run_where_one_skill_rose_most():
    widget = TrainingDashboard()
    rises = []
    exams = [line for line in LINES if "skills" in line]
    for before, after in pairwise(exams):
        for name, share in after["skills"].items():
            if name in before["skills"]:
                rises.append((share - before["skills"][name], -after["step"], name))
    rise, step, name = max(rises)
    assert widget.step == -step and widget.reading["change"][name] == pytest.approx(rise)
    assert widget.n_lines == len(LINES) == len(widget.rows) and widget.curve.lines == LINES
    assert repr(widget) == 'TrainingDashboard("the course\'s model")'
    with pytest.raises(ValueError, match=r"TrainingDashboard.live\(trainer\) is one that trains"):
        widget.start()


@pytest.mark.parametrize("step", [10, 999, 1000, 1005, 18_500, 31_500, 99_999, 0, -1])
def test_every_step_is_read_as_a_plain_loop_reads_it(step):
    widget = TrainingDashboard()
    widget.step = step
    line, validation, exam, before = LINES[0], None, None, None
    for other in LINES:
        if step >= 0 and other["step"] > step:
            break
        line = other
        validation = other.get("validation_loss", validation)
        if "skills" in other:
            exam, before = other, exam
    reading = widget.reading
    assert reading["step"] == line["step"]
    for name in ("loss", "lr", "norm", "seconds"):
        assert reading[name] == np.float32(line[name])
    assert reading["validation_loss"] == (None if validation is None else np.float32(validation))
    assert reading["tokens_per_second"] is None and reading["samples"] == {} and reading["ghost"] is None
    assert reading["skills"] == ({} if exam is None else exam["skills"])
    known = before["skills"] if before else {}
    expected = {name: share - known[name] for name, share in reading["skills"].items() if name in known}
    assert reading["change"] == expected


def test_the_ghost_is_read_at_the_same_step():
    curve = Curve("now", [{"step": step, "loss": 1.0} for step in (5, 10, 15)])
    ghost = Curve("before", [{"step": step, "loss": float(step)} for step in (4, 10, 12)])
    widget = TrainingDashboard(curve, ghost=ghost, title="the new one")
    assert (widget.title, widget.ghost_title) == ("the new one", "before")
    found = []
    for step in (5, 10, 15):
        widget.step = step
        found.append(widget.reading["ghost"])
    assert found == [4.0, 10.0, 12.0]
    assert ["loss of before", "12"] in widget.tables()[0].rows


def test_the_tables_are_those_of_plain_formatting():
    widget = TrainingDashboard()
    now, along, skills = widget.tables()
    line = next(line for line in LINES if line["step"] == widget.step)
    assert now.caption == "the course's model: step 3,000 of 31,500" and widget.step == 3000
    assert [cell for _, cell in now.rows[:4]] == [
        f"{line[name]:.3g}" for name in ("loss", "validation_loss", "lr", "norm")
    ]
    assert [row[0] for row in along.rows] == [f"{LINES[n * 3149 // 11]['step']:,}" for n in range(12)]
    assert [row[1] for row in along.rows] == [f"{LINES[n * 3149 // 11]['loss']:.3g}" for n in range(12)]
    before = next(line for line in LINES if line["step"] == 2000)["skills"]
    for (name, share), row in zip(line["skills"].items(), skills.rows, strict=True):
        change = share - before[name]
        said = "0.00" if not round(change, 2) else f"{change:+.2f}".replace("-", "−")
        assert row == [name.replace("_", " "), f"{share:.2f}", said]


def test_empty_short_and_bare_curves():
    empty = TrainingDashboard(Curve("nothing"))
    assert empty.reading == {} and empty.tables()[0].caption == "nothing: no step yet"
    one = TrainingDashboard(Curve("one", [{"step": 7, "loss": 2.5}], n_steps=9))
    assert one.reading["loss"] == 2.5 and one.reading["skills"] == {} and one.reading["lr"] is None
    now, along = one.tables()
    assert now.caption == "one: step 7 of 9" and along.rows == [["7", "2.5", "–", "–", "–"]]
    late = TrainingDashboard(Curve("late", [{"step": 1, "validation_loss": 3.0}, {"step": 2, "loss": 1.0}]))
    late.step = 1
    assert late.reading["loss"] is None and late.reading["validation_loss"] == 3.0


def test_losses_that_are_no_finite_numbers_are_gaps_and_said(tmp_path):
    losses = [1.0, math.nan, math.inf, 2.0, -math.inf]
    lines = [{"step": n, "loss": loss, "skills": {"copying": math.nan}} for n, loss in enumerate(losses, start=1)]
    widget = TrainingDashboard(Curve("odd", lines))
    assert widget.odd == [3, 2]
    assert widget.rows[:, 1].tolist() == [1.0, math.inf, math.inf, 2.0, math.inf]
    now, along, skills = widget.tables()
    assert now.rows[0][1] == "not finite" and [row[1] for row in along.rows][1] == "not finite"
    assert skills.rows == [["copying", "–", ""]]
    assert widget.save_html(tmp_path / "odd.html").exists()


def test_a_step_that_cannot_be_is_refused():
    with pytest.raises(traitlets.TraitError, match="step"):
        TrainingDashboard(Curve("empty"), step=-2)
    with pytest.raises(ValueError, match="expected every of at least 1, got 0"):
        TrainingDashboard.live([], every=0)


# Thinning -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 7, 100, 101, 5_000, 50_001])
def test_a_thinned_picture_keeps_the_least_and_greatest_loss_of_each_stretch(n):
    generator = np.random.default_rng(n)
    rows = np.zeros((n, len(COLUMNS)), dtype=np.float32)
    rows[:, 0] = np.sort(generator.choice(4 * n, n, replace=False)) if n > 1 else 3
    rows[:, 1] = generator.normal(size=n)
    rows[::9, 1] = np.nan  # without a loss
    always = [int(step) for step in rows[:: max(1, n // 7), 0]]
    kept = thin(rows, 100, always)
    if n <= 100:
        assert kept is rows
        return
    assert len(kept) <= 100 and np.all(np.diff(kept[:, 0]) > 0)
    assert {*always, rows[0, 0], rows[-1, 0]} <= set(kept[:, 0].tolist())
    assert {tuple(row[[0, 1]]) for row in kept if row[1] == row[1]} <= {tuple(row[[0, 1]]) for row in rows}
    n_bins = (100 - len({*always, rows[0, 0], rows[-1, 0]})) // 2
    stretch: dict[int, list[float]] = {}
    for step, loss in rows[:, :2]:
        if loss == loss:
            at = int(np.float32(n_bins) * (step - rows[0, 0]) / (rows[-1, 0] - rows[0, 0]))
            stretch.setdefault(min(n_bins - 1, at), []).append(loss)
    for losses in stretch.values():
        assert {min(losses), max(losses)} <= set(kept[:, 1].tolist())


def test_a_long_recorded_run_is_thinned_and_a_live_one_stays_small(monkeypatch):
    lines = [{"step": step, "loss": float(step % 97)} for step in range(1, 20_001)]
    widget = TrainingDashboard(Curve("long", lines))
    assert len(widget.rows) <= WHOLE and widget.n_lines == 20_000
    clock = Clock(monkeypatch, 0.01)
    live = TrainingDashboard.live(made(9_000), validate=lambda: 1.0, every=500)
    sizes = []
    live.observe(lambda change: sizes.append((len(live.rows), len(live.tail))), ["n_lines"])
    live.start()
    live.wait()
    assert clock.now > 80 and len(sizes) > 300
    assert max(rows for rows, _ in sizes) <= LIVE and max(tail for _, tail in sizes) <= TAIL
    steps = live._picture()[:, 0]
    assert np.all(np.diff(steps) > 0) and (steps[0], steps[-1]) == (1, 9_000)
    assert set(range(500, 9_001, 500)) <= set(steps.tolist())
    assert [line["step"] for line in live.curve.lines] == list(range(1, 9_001))


# Training -----------------------------------------------------------------------------------------------------------


class Clock:
    """A clock that moves with every question."""

    def __init__(self, monkeypatch, tick):
        self.now, self.tick = 0.0, tick
        monkeypatch.setattr(TrainingDashboard, "_clock", staticmethod(self))

    def __call__(self):
        self.now += self.tick
        return self.now


def test_the_training_is_bit_for_bit_what_it_is_by_hand():
    by_hand = trainer_of()
    steps = list(by_hand)
    trainer = trainer_of()
    modes = []

    def ask():
        modes.append(trainer.model.training)
        torch.randn(3)  # draws from the generator that the training may use
        return 1.5

    dashboard = TrainingDashboard.live(
        trainer,
        validate=ask,
        examine=lambda: {"copying": ask() / 2},
        sample=lambda: {"a": str(ask())},
        every=5,
    )
    before = torch.get_rng_state()
    dashboard.start()
    dashboard.wait()
    assert torch.equal(torch.get_rng_state(), before)
    assert dashboard.state == "done" and dashboard.error == "" and not trainer.model.training
    same(weights(trainer.model), weights(by_hand.model))
    lines = dashboard.curve.lines
    assert [line["step"] for line in lines] == [step.step + 1 for step in steps] == list(range(1, 13))
    for line, step in zip(lines, steps, strict=True):
        assert (line["loss"], line["lr"], line["norm"]) == (step.loss, step.learning_rate, step.gradient_norm)
    assert [line["step"] for line in lines if "skills" in line] == [5, 10, 12]
    assert modes == [False] * 9
    picture = dashboard._picture()
    assert picture[:, :4].tolist() == [
        [np.float32(value) for value in (step.step + 1, step.loss, step.learning_rate, step.gradient_norm)]
        for step in steps
    ]
    assert dashboard.validation.tolist() == [[5, 1.5], [10, 1.5], [12, 1.5]]
    assert dashboard.reading["skills"] == {"copying": 0.75} and dashboard.reading["samples"] == {"a": "1.5"}
    assert dashboard.curve.n_steps == dashboard.n_steps == 12


@pytest.mark.parametrize("at", range(0, 12, 3))
@pytest.mark.parametrize("how", ["pause", "stop"])
def test_a_pause_or_a_stop_between_any_two_steps_changes_nothing(at, how):
    by_hand = trainer_of()
    steps = list(by_hand)
    trainer = trainer_of()
    dashboard = TrainingDashboard.live(trainer)
    own = dashboard._take

    def take(step):
        own(step)
        if step.step == at:
            getattr(dashboard, how)()

    dashboard._take = take
    dashboard.start()
    until(lambda: dashboard.state == {"pause": "paused", "stop": "stopped"}[how])
    held = weights(trainer.model)
    assert trainer.n_done == at + 1 == len(dashboard.curve.lines) == dashboard.n_lines
    assert not trainer.model.training and dashboard.wanted == ""
    torch.manual_seed(at)  # what the reader does meanwhile
    same(held, weights(trainer.model))
    (dashboard.resume if how == "pause" else dashboard.start)()
    dashboard.wait(60)
    assert dashboard.state == "done"
    same(weights(trainer.model), weights(by_hand.model))
    assert [line["loss"] for line in dashboard.curve.lines] == [step.loss for step in steps]


def test_stop_ends_a_paused_run_and_wait_goes_on_with_one():
    dashboard = TrainingDashboard.live(made(50))
    own = dashboard._take
    dashboard._take = lambda step: (own(step), step.step in (9, 19) and dashboard.pause())
    dashboard.start()
    until(lambda: dashboard.state == "paused")
    dashboard.stop()
    until(lambda: dashboard.state == "stopped")
    assert len(dashboard.curve.lines) == 10
    dashboard.start()  # a generator goes on
    until(lambda: dashboard.state == "paused")
    assert len(dashboard.curve.lines) == 20
    dashboard.wait(60)
    assert dashboard.state == "done" and len(dashboard.curve.lines) == 50
    for ask in (dashboard.pause, dashboard.stop):
        ask()
        assert dashboard.wanted == "" and dashboard.state == "done"
    dashboard.start()
    dashboard.wait(60)
    assert dashboard.state == "done" and len(dashboard.curve.lines) == 50


def test_the_kernel_stays_free_and_time_out_returns():
    gate = Gate(3)
    dashboard = TrainingDashboard.live(gate)
    dashboard.start()
    dashboard.wait(0.05)
    assert dashboard.state == "running" and dashboard._thread.daemon
    dashboard.set_state({"log": False, "step": 1})
    assert not dashboard.log and dashboard.step == 1
    dashboard.start()  # already
    gate.let(3)
    dashboard.wait(60)
    assert dashboard.state == "done" and len(dashboard.curve.lines) == 3


def test_the_browser_starts_pauses_and_stops_by_a_trait():
    gate = Gate(5)
    dashboard = TrainingDashboard.live(gate)
    dashboard.set_state({"wanted": "pause"})  # nothing to pause
    assert dashboard.wanted == "" and dashboard.state == "ready"
    dashboard.set_state({"wanted": "start"})
    gate.let(2)
    until(lambda: len(dashboard.curve.lines) == 2)
    dashboard.set_state({"wanted": "pause"})
    assert dashboard.wanted == "pause"  # after the step in hand
    gate.let()
    until(lambda: dashboard.state == "paused")
    assert dashboard.wanted == "" and len(dashboard.curve.lines) == 3
    dashboard.set_state({"wanted": "start"})
    until(lambda: dashboard.state == "running")
    dashboard.set_state({"wanted": "stop"})
    gate.let()
    until(lambda: dashboard.state == "stopped")
    assert dashboard.wanted == "" and len(dashboard.curve.lines) == 4


def test_no_more_than_five_updates_a_second(monkeypatch):
    """By a clock that the test moves: each step takes 0.01, 0.3 or 2 seconds."""
    for seconds in (0.01, 0.3, 2.0):
        now = [0.0]
        monkeypatch.setattr(TrainingDashboard, "_clock", staticmethod(lambda now=now: now[0]))

        def steps(seconds=seconds, now=now):
            for step in made(300):
                now[0] += seconds
                yield step

        dashboard = TrainingDashboard.live(steps())
        sent = []
        own = dashboard.send_state
        dashboard.send_state = lambda key=None, sent=sent, now=now, own=own: (sent.append(now[0]), own(key))
        dashboard.start()
        dashboard.wait(60)
        assert dashboard.n_lines == 300
        windows = [sum(start <= at < start + 1 for at in sent) for start in sent]
        assert max(windows) <= 5
        assert len(sent) >= min(300, 300 * seconds / INTERVAL) / 2  # and it does tell
        assert dashboard.n_updates <= 300 * seconds / INTERVAL + 2


def test_an_update_sends_the_new_rows_alone(monkeypatch):
    Clock(monkeypatch, 0.05)
    dashboard = TrainingDashboard.live(made(1_000))
    sent = []
    own = dashboard.send_state
    dashboard.send_state = lambda key=None: (sent.append(set(key or ())), own(key))
    dashboard.start()
    dashboard.wait(60)
    rows = sum("rows" in names for names in sent)
    assert sum("tail" in names for names in sent) > 100 and 1 <= rows <= 1_000 / TAIL
    assert dashboard._picture()[:, 0].tolist() == list(range(1, 1_001))


def test_an_error_is_shown_in_one_line_raised_by_wait_and_the_picture_stays():
    trainer = trainer_of(12)
    own = trainer.batch

    def spoiled(step):
        if step == 7:
            trainer.model.embedding.weight.data.fill_(math.nan)
        return own(step)

    trainer.batch = lambda step: own(step)
    dashboard = TrainingDashboard.live(trainer)
    take = dashboard._take
    dashboard._take = lambda step: (take(step), step.step == 6 and spoiled(7))
    dashboard.start()
    with pytest.raises(FloatingPointError, match="the gradient is not finite at step 7"):
        dashboard.wait(60)
    assert dashboard.state == "failed" and "\n" not in dashboard.error
    assert dashboard.error.startswith("The training ended. the gradient is not finite at step 7")
    assert len(dashboard.curve.lines) == dashboard.n_lines == 7 and not trainer.model.training
    with pytest.raises(FloatingPointError):
        dashboard.wait()


def test_a_question_that_fails_is_named_and_its_step_is_kept():
    def examine():
        raise KeyError("copying")

    dashboard = TrainingDashboard.live(made(9), examine=examine, every=4)
    dashboard.start()
    with pytest.raises(KeyError):
        dashboard.wait(60)
    assert dashboard.error == "The training ended. examine: KeyError: 'copying'" and dashboard.n_lines == 4
    dashboard._questions["examine"] = None
    dashboard.start()
    dashboard.wait(60)
    assert dashboard.state == "done" and dashboard.error == "" and dashboard.n_lines == 9


def test_a_loop_that_breaks_is_not_called_done_later():
    def broken():
        yield from made(2)
        raise RuntimeError("the disk is full")

    dashboard = TrainingDashboard.live(broken())
    for _ in range(2):
        dashboard.start()
        with pytest.raises(RuntimeError, match="the disk is full"):
            dashboard.wait(60)
        assert dashboard.state == "failed" and dashboard.n_lines == 2


def test_steps_that_do_not_increase_are_refused_in_words():
    dashboard = TrainingDashboard.live([*made(3), *made(2)])
    dashboard.start()
    with pytest.raises(ValueError, match="expected a line with a step after 3, got 1"):
        dashboard.wait(60)
    assert "expected a line with a step after 3, got 1" in dashboard.error


def test_an_interrupt_while_waiting_stops_after_the_step_in_hand(monkeypatch):
    trainer = trainer_of(100_000)
    dashboard = TrainingDashboard.live(trainer)
    own, calls = dashboard._join, []

    def join(timeout, *, bar=False):
        calls.append(bar)
        if len(calls) == 1:
            until(lambda: len(dashboard.curve.lines) > 3)
            raise KeyboardInterrupt
        own(timeout)

    dashboard._join = join
    dashboard.start()
    with pytest.raises(KeyboardInterrupt):
        dashboard.wait()
    assert dashboard.state == "stopped" and not trainer.model.training and calls == [True, False]
    assert trainer.n_done == len(dashboard.curve.lines) == dashboard.n_lines
    assert torch.isfinite(trainer.model(torch.zeros(1, 4, dtype=torch.long))).all()


def test_it_ends_after_n_steps_of_a_loop_without_end():
    dashboard = TrainingDashboard.live(made(10**9), n_steps=20, examine=lambda: {"a": 1}, every=15)
    dashboard.start()
    dashboard.wait(60)
    assert dashboard.state == "done" and [line["step"] for line in dashboard.curve.lines][-1] == 20
    assert [step for step, _ in dashboard.exams] == [15, 20]
    listed = TrainingDashboard.live(list(made(7)))
    assert listed.n_steps == 7


def test_what_is_committed_of_a_live_run_holds_no_durations_and_is_the_same_twice():
    def shown(rate_of_clock):
        dashboard = TrainingDashboard.live(trainer_of(), validate=lambda: 2.0, examine=lambda: {"a": 0.5}, every=6)
        dashboard._clock = lambda: time.monotonic() * rate_of_clock
        assert dashboard.fallback_html() == TrainingDashboard.live(trainer_of()).fallback_html()
        dashboard.start()
        dashboard.wait(60)
        assert all(line["seconds"] >= 0 for line in dashboard.curve.lines)
        return repr(dashboard), dashboard.fallback_html()

    assert shown(1) == shown(37)
    name, html = shown(1)
    assert name == "TrainingDashboard('this run', live)" and "seconds" not in html and "tokens a second" not in html


def test_in_a_terminal_a_bar_counts_the_steps(monkeypatch):
    bars = []

    class Bar(training.tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **{**kwargs, "disable": kwargs["disable"], "file": Paper()})
            bars.append((self, kwargs["disable"]))

    class Paper:
        def write(self, text):
            pass

        def flush(self):
            pass

        def isatty(self):
            return True

    monkeypatch.setattr(training, "tqdm", Bar)
    dashboard = TrainingDashboard.live(list(made(30)))
    dashboard.run()
    [(bar, disabled)] = bars
    assert disabled is None and bar.n == 30 and bar.total == 30 and "loss 30" in bar.postfix
    monkeypatch.setattr(training, "_in_kernel", lambda: True)
    again = TrainingDashboard.live(list(made(30)))
    again.start()
    again.wait()
    assert bars[1][1] is True


def test_run_shows_once_by_machine_and_twice_the_same_view_for_a_reader(monkeypatch):
    events = []

    class Handle:
        def update(self, widget):
            events.append(("update", widget.state))

    def display(widget, display_id=None):
        events.append(("display", widget.state))
        return Handle()

    monkeypatch.setattr("IPython.display.display", display)
    monkeypatch.setattr(training, "_in_kernel", lambda: True)
    TrainingDashboard.live(list(made(3))).run()
    assert events == [("display", "ready"), ("update", "done")]
    events.clear()
    monkeypatch.setattr(training, "_by_machine", lambda: True)
    TrainingDashboard.live(list(made(3))).run()
    assert events == [("display", "done")]


def test_a_page_replays_the_run(tmp_path):
    dashboard = TrainingDashboard.live(trainer_of(), examine=lambda: {"a": 0.5}, sample=lambda: {"<b>": "</script>"})
    dashboard.start()
    dashboard.wait(60)
    page = dashboard.save_html(tmp_path / "run.html")
    assert page.stat().st_size < 200_000
    copied = dashboard.get_state(["exams", "samples"])
    assert copied["exams"] == [[12, {"a": 0.5}]] and copied["samples"] == [[12, {"<b>": "</script>"}]]
