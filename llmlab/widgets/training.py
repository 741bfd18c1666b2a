"""`TrainingDashboard`: a training run as it goes, or as it went. One picture for both, over a `Curve`.

While it trains, a thread takes the steps and the kernel stays free. The browser hears of it at most four times a
second, and at once when a run begins, pauses or ends. Rows travel as bytes: `rows`, the picture so far, and `tail`, at
most 200 rows since; only the tail goes again with each update. What is drawn of a long run is thinned: of equal
stretches of steps, the rows with the least and the greatest loss. The `curve` in Python keeps every line.
"""

from __future__ import annotations

import contextvars
import math
import os
import sys
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import traitlets
from tqdm import tqdm

from .. import data_path
from ..training import Curve, Trainer, TrainingStep
from .base import Array, LabWidget, Table, _in_one_line
from .gradients import number

COLUMNS = ("step", "loss", "lr", "norm", "tokens_per_second", "seconds")
LIVE, WHOLE = 2_000, 4_000  # rows of the picture at most: while it trains, and of a recorded run
TAIL = 200  # rows that are sent again with each update, at most
INTERVAL = 0.25  # seconds between two updates of the browser
SHOWN = 12  # rows of the table along the run
TEXT = 400  # characters of a sample
GUARD = Path(__file__).resolve().parent.parent / "offline"  # see there: on the path of kernels that no reader opens
STATES = ("recorded", "ready", "running", "paused", "stopped", "done", "failed")


class TrainingDashboard(LabWidget):
    """A run's loss, validation loss, learning rate, gradient norm, skills and samples, at every step.

        TrainingDashboard(Curve.read("run/log.jsonl"), ghost=earlier)      # a recorded run, another one behind it
        dashboard = TrainingDashboard.live(trainer, validate=..., every=50)  # one that trains: start(), wait(), run()

    Without a curve: the shipped model's own run, at the examination before which one skill rose most. Read and set
    from Python: `step`, the step that is read (−1: the newest), `smooth` and `log`, how the loss is drawn. Only to be
    read: `reading`, the numbers of that step; `state`; `n_updates`, the messages to the browser; `curve`, all lines.
    """

    js = "training.js"
    step = traitlets.Int(-1, min=-1, help="the step whose numbers are read; −1: the newest").tag(sync=True)
    smooth = traitlets.Bool(True, help="whether the mean of neighboring rows is drawn over the loss").tag(sync=True)
    log = traitlets.Bool(True, help="whether the loss has a log axis").tag(sync=True)
    wanted = traitlets.Enum(["", "start", "pause", "stop"], "", help="what the thread is to do next").tag(sync=True)

    state = traitlets.Enum(STATES, "recorded", help="what the run is doing").tag(sync=True)
    trains = traitlets.Bool(False, help="whether this is a run to be trained here").tag(sync=True)
    title = traitlets.Unicode("", help="the run's name").tag(sync=True)
    n_steps = traitlets.Int(0, help="steps of the whole run; 0: not known").tag(sync=True)
    n_lines = traitlets.Int(0, help="lines of the curve, of which the rows are some or all").tag(sync=True)
    rows = Array(help="COLUMNS of the picture so far; NaN: not recorded, ∞: not finite").tag(sync=True)
    tail = Array(help="the rows after these").tag(sync=True)
    validation = Array(help="steps and validation losses").tag(sync=True)
    exams = traitlets.List(help="[step, {skill: share of right answers}]").tag(sync=True)
    samples = traitlets.List(help="[step, {prompt: text}]").tag(sync=True)
    odd = traitlets.List(traitlets.Int(), [0, 0], help="how many losses are not finite; the first's step").tag(
        sync=True
    )
    ghost = Array(help="steps and losses of an earlier run").tag(sync=True)
    ghost_title = traitlets.Unicode("", help="its name").tag(sync=True)

    _clock = staticmethod(time.monotonic)

    def __init__(
        self, curve: Curve | None = None, *, ghost: Curve | None = None, title: str | None = None, **traits: Any
    ):
        shipped = curve is None
        if shipped:
            curve = Curve.read(data_path("training.jsonl"), "the course's model")
        self.curve = curve
        self.failure: BaseException | None = None  # what ended the training
        self.n_updates = 0  # messages to the browser
        self._trainer: Iterable[TrainingStep] = ()
        self._steps: Iterator[TrainingStep] | None = None
        self._thread: threading.Thread | None = None
        self._broken: BaseException | None = None  # what ended a generator, which has no more steps then
        self._lock, self._wake = threading.RLock(), threading.Event()
        self._sent = -math.inf
        self._seconds = 0.0
        found, marks = _rows_of(curve.lines), _marks(curve.lines)
        before = np.zeros((0, 2)) if ghost is None else thin(_rows_of(ghost.lines), LIVE)[:, :2]
        super().__init__(
            title=curve.name if title is None else title,
            n_steps=curve.n_steps or 0,
            n_lines=len(curve.lines),
            rows=thin(found, WHOLE, marks),
            tail=np.zeros((0, len(COLUMNS))),
            validation=_pairs(*curve.column("validation_loss")),
            exams=[_exam(line) for line in curve.lines if line.get("skills")],
            samples=[_sample(line) for line in curve.lines if line.get("samples")],
            odd=_odd(found),
            ghost=before,
            ghost_title="" if ghost is None else ghost.name,
            **({"step": _telling(curve)} if shipped else {}) | traits,
        )
        self.observe(self._on_wanted, "wanted")

    @classmethod
    def live(
        cls,
        trainer: Trainer | Iterable[TrainingStep],
        *,
        validate: Callable[[], float] | None = None,
        examine: Callable[[], Mapping[str, Any]] | None = None,
        sample: Callable[[], Mapping[str, str]] | None = None,
        every: int = 50,
        n_steps: int | None = None,
        ghost: Curve | None = None,
        title: str = "this run",
        **traits: Any,
    ) -> TrainingDashboard:
        """A run that trains in a thread: `start()`, `pause()`, `resume()`, `stop()`, `wait()`; `run()` does it all.

        `trainer` gives steps: a `Trainer`, or a loop of your own that yields `TrainingStep`s. After each `every` steps,
        and after the last, the thread asks `validate()` for a loss in nats a token, `examine()` for shares of right
        answers (or `Score`s) by skill, and `sample()` for texts by prompt. A trainer's model is in evaluation mode
        meanwhile and PyTorch's generator is put back: the training is, bit for bit, what it is without a dashboard. It
        ends after `n_steps` (as many as the trainer's, if not given). Raises ValueError for `every` below 1.
        """
        if every < 1:
            raise ValueError(f"expected every of at least 1, got {every}")
        if n_steps is None:
            n_steps = getattr(getattr(trainer, "config", None), "n_steps", None)
        if n_steps is None and isinstance(trainer, Sequence):
            n_steps = len(trainer)
        dashboard = cls(Curve(title, [], n_steps), ghost=ghost, trains=True, state="ready", **traits)
        dashboard._trainer, dashboard._every = trainer, every
        dashboard._questions = {"validate": validate, "examine": examine, "sample": sample}
        return dashboard

    def __repr__(self) -> str:
        return f"TrainingDashboard({self.title!r}{', live' if self.trains else ''})"

    # What the reader asks for ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Train in a thread, from where the run stands; returns at once. Goes on where it was paused or stopped."""
        if not self.trains:
            raise ValueError("this is a recorded run; TrainingDashboard.live(trainer) is one that trains")
        self._want("start")

    def pause(self) -> None:
        """Pause after the step in hand; the model can be used meanwhile."""
        self._want("pause")

    def resume(self) -> None:
        """Go on after a pause; the same as `start()`."""
        self.start()

    def stop(self) -> None:
        """End after the step in hand, with the model in evaluation mode. `start()` goes on from there."""
        self._want("stop")

    def wait(self, timeout: float | None = None) -> None:
        """Return when the training has ended, or after `timeout` seconds. Raises what ended it, if it was an error.

        A paused run goes on, since a cell that waits may keep the page's buttons from being heard. An interrupt
        (Ctrl-C, the kernel's stop button) stops the training after the step in hand. In a terminal, a bar shows.
        """
        if self.state == "paused":
            self.start()
        try:
            self._join(timeout, bar=not _in_kernel())
        except KeyboardInterrupt:
            self.stop()
            self._join(None)
            raise
        if self._thread is None and self.failure is not None:
            raise self.failure

    def run(self) -> None:
        """Show the dashboard, train, and wait. The one call of a cell: its output is the dashboard."""
        if not _in_kernel():
            self.start()
            return self.wait()
        from IPython.display import display

        if _by_machine():  # nobody looks: what is kept of the page is the end
            try:
                self.start()
                self.wait()
            finally:
                display(self)
            return None
        shown = display(self, display_id=True)
        try:
            self.start()
            self.wait()
        finally:
            shown.update(self)  # so that a notebook that is saved has the tables of the end

    def _want(self, what: str) -> None:
        with self._lock:
            if self._thread is not None:
                self.wanted = what
            elif what == "start":
                self._begin()

    def _begin(self) -> None:
        self.failure = None
        self._show(state="running", wanted="", error="")
        context = contextvars.copy_context()  # the kernel knows by it whom to answer
        self._thread = threading.Thread(target=context.run, args=(self._in_thread,), daemon=True)
        self._thread.start()

    def set_state(self, sync_data: dict[str, Any]) -> None:
        with self._lock:  # not between two traits of an update
            super().set_state(sync_data)

    def notify_change(self, change: Any) -> None:
        with self._lock:
            super().notify_change(change)

    def _on_wanted(self, change: Any) -> None:
        with self._lock:
            if self.wanted == "":
                return
            if self._thread is not None:
                self._wake.set()
            elif self.wanted == "start" and self.trains:
                self._begin()
            else:
                self.wanted = ""

    def _join(self, timeout: float | None, *, bar: bool = False) -> None:
        end = math.inf if timeout is None else time.monotonic() + timeout
        shown = tqdm(total=self.n_steps or None, desc=self.title, unit="step", disable=None if bar else True)
        with shown:
            while (thread := self._thread) is not None and time.monotonic() < end:
                thread.join(max(0.0, min(0.1, end - time.monotonic())))
                if lines := self.curve.lines:
                    shown.set_postfix_str(f"loss {lines[-1]['loss']:.3g}", refresh=False)
                    shown.update(lines[-1]["step"] - shown.n)

    # The thread -----------------------------------------------------------------------------------------------------

    def _in_thread(self) -> None:
        while True:
            outcome, problem = self._train()
            with self._lock:
                again = outcome != "failed" and self.wanted == "start"
                self._show(state="running" if again else outcome, wanted="", error=problem)
                if not again:
                    self._thread = None
                    return

    def _train(self) -> tuple[str, str]:
        """Take steps until something ends that; the state that follows, and what went wrong."""
        own = self._trainer if isinstance(self._trainer, Iterator) else None  # a generator, which cannot begin again
        self._last, self._asking = self._clock(), ""
        outcome, problem = "done", ""
        try:
            if own is not None and self._broken is not None:
                raise self._broken
            if self._steps is None:
                self._steps = iter(self._trainer)
            while not self._is_over():
                try:
                    step = next(self._steps)
                except StopIteration:
                    break
                except Exception as error:
                    self._broken = error
                    raise
                self._take(step)
                if self._clock() - self._sent >= INTERVAL:
                    self._show()
                if self.wanted and self._heed() == "stop":
                    outcome = "stopped"
                    break
        except BaseException as error:  # whatever it is, the reader who waits is told
            self.failure = error
            where = f"{self._asking}: " if self._asking else ""
            what = _in_one_line(error, plain=(ValueError, RuntimeError, FloatingPointError))
            problem = f"The training ended. {where}{what}"
            outcome = "failed"
        if own is None and hasattr(self._steps, "close"):  # a trainer's loop, which then leaves a usable model
            self._steps.close()
            self._steps = None
        return outcome, problem

    def _is_over(self) -> bool:
        lines = self.curve.lines
        return bool(self.n_steps and lines and lines[-1]["step"] >= self.n_steps)

    def _heed(self) -> str:
        """Do what is wanted; a pause lasts until something else is."""
        with self._lock:
            wanted = self.wanted
            if wanted != "pause":
                if wanted == "start":
                    self.wanted = ""
                return wanted
            self._wake.clear()
            self._show(state="paused", wanted="")
        with self._usable():
            while self.wanted not in ("start", "stop"):
                self._wake.wait()
                with self._lock:
                    self._wake.clear()
                    if self.wanted == "pause":
                        self.wanted = ""
        self._last = self._clock()
        with self._lock:
            wanted = self.wanted
            if wanted == "start":
                self._show(state="running", wanted="")
        return wanted

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """The model in evaluation mode; afterwards all is as it was, PyTorch's random generator included."""
        model = getattr(self._trainer, "model", None)
        parts = list(model.modules()) if isinstance(model, torch.nn.Module) else []
        modes, generator = [part.training for part in parts], torch.get_rng_state()
        if parts:
            model.eval()
        try:
            yield
        finally:
            torch.set_rng_state(generator)
            for part, mode in zip(parts, modes, strict=True):
                part.training = mode

    def _take(self, step: TrainingStep) -> None:
        """Note down a step, with what is to be asked after it."""
        line: dict[str, Any] = {"step": int(step.step) + 1, "loss": float(step.loss)}
        names = {"lr": "learning_rate", "norm": "gradient_norm", "tokens_per_second": "tokens_per_second"}
        for name, theirs in names.items():
            if (value := getattr(step, theirs, None)) is not None:
                line[name] = float(value)
        asked = {}
        try:
            if line["step"] % self._every == 0 or line["step"] == self.n_steps:
                asked = self._answers()
        finally:
            now = self._clock()
            self._seconds, self._last = self._seconds + now - self._last, now
            line["seconds"] = self._seconds
            self.curve.add(line | asked)

    def _answers(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        with self._usable():
            for name, ask in self._questions.items():
                if ask is None:
                    continue
                self._asking = name
                if name == "validate":
                    found["validation_loss"] = float(ask())
                elif name == "examine":
                    found["skills"] = {skill: float(getattr(of, "accuracy", of)) for skill, of in ask().items()}
                else:
                    found["samples"] = {str(prompt): str(text) for prompt, text in ask().items()}
        self._asking = ""
        return found

    def _show(self, **also: Any) -> None:
        """Tell the browser what is new, in one message."""
        with self._lock, self.hold_sync():
            if lines := self.curve.lines[self.n_lines :]:
                pairs = [[line["step"], _value(line["validation_loss"])] for line in lines if "validation_loss" in line]
                if pairs:
                    self.validation = np.concatenate([self.validation, np.array(pairs, dtype=np.float32)])
                if exams := [_exam(line) for line in lines if line.get("skills")]:
                    self.exams = [*self.exams, *exams]
                if samples := [_sample(line) for line in lines if line.get("samples")]:
                    self.samples = [*self.samples, *samples]
                new = _rows_of(lines)
                tail = np.concatenate([self.tail, new])
                if len(tail) > TAIL:
                    rows = np.concatenate([self.rows, tail])
                    if len(rows) > LIVE:
                        marks = {int(step) for step in self.validation[:, 0]}
                        marks |= {one[0] for one in self.exams + self.samples}
                        rows = thin(rows, LIVE // 2, sorted(marks))
                    self.rows, tail = rows, tail[:0]
                self.tail = tail
                self.odd = [self.odd[0] + _odd(new)[0], self.odd[1] if self.odd[0] else _odd(new)[1]]
                self.n_lines = len(self.curve.lines)
            for trait in also:
                setattr(self, trait, also[trait])
            self._sent = self._clock()
            self.n_updates += 1

    # As text --------------------------------------------------------------------------------------------------------

    @property
    def reading(self) -> dict[str, Any]:
        """What the page says of the step that is read: its numbers (None: not recorded), skills and samples."""
        rows = self._picture()
        if not len(rows):
            return {}
        row = rows[_at(rows[:, 0], self.step)]
        step = int(row[0])
        found: dict[str, Any] = {"step": step}
        for name, value in zip(COLUMNS[1:], row[1:].tolist(), strict=True):
            found[name] = None if math.isnan(value) else value
        found["validation_loss"] = _latest_of(self.validation, step)
        found["ghost"] = _latest_of(self.ghost, step)
        exam, before = _latest(self.exams, step)
        found["examined"] = exam[0] if exam else None
        found["skills"] = dict(exam[1]) if exam else {}
        found["change"] = {
            name: share - before[1][name]
            for name, share in found["skills"].items()
            if before and share is not None and before[1].get(name) is not None
        }
        sample, _ = _latest(self.samples, step)
        found["sampled"], found["samples"] = (sample[0], dict(sample[1])) if sample else (None, {})
        return found

    def _picture(self) -> np.ndarray:
        shape = -1, len(COLUMNS)
        return np.concatenate([self.rows.reshape(shape), self.tail.reshape(shape)])

    def tables(self) -> list[Table]:
        """The step that is read, some steps along the run, skills and samples. No durations of a live run."""
        now, rows = self.reading, self._picture()
        if not now:
            return [Table(f"{self.title}: no step yet", ["what", "value"], [])]
        whole = max(self.n_steps, int(rows[-1, 0]))
        values = [
            ["loss, nats a token", _said(now["loss"])],
            ["validation loss, nats a token", _said(now["validation_loss"])],
            ["learning rate", _said(now["lr"])],
            ["gradient norm", _said(now["norm"])],
        ]
        if self.ghost_title:
            values.append([f"loss of {self.ghost_title}", _said(now["ghost"])])
        if not self.trains:
            values.append(["tokens a second", _said(now["tokens_per_second"])])
            values.append(["seconds since the start", _said(now["seconds"])])
        tables = [Table(f"{self.title}: step {now['step']:,} of {whole:,}", ["what", "value"], values)]
        n = min(SHOWN, len(rows))
        along = [rows[at * (len(rows) - 1) // max(1, n - 1)] for at in range(n)]
        names = ["step", "loss", "validation loss", "learning rate", "gradient norm"]
        cells = [
            [
                f"{int(row[0]):,}",
                _said(row[1]),
                _said(_latest_of(self.validation, row[0])),
                _said(row[2]),
                _said(row[3]),
            ]
            for row in along
        ]
        tables.append(Table("Along the run", names, cells))
        if now["skills"]:
            cells = [
                [_label(name), _share(share), _change(now["change"].get(name))] for name, share in now["skills"].items()
            ]
            caption = f"Examined after step {now['examined']:,}"
            tables.append(Table(caption, ["skill", "share of right answers", "change"], cells))
        if now["samples"]:
            caption = f"Written after step {now['sampled']:,}"
            tables.append(Table(caption, ["prompt", "text"], [list(pair) for pair in now["samples"].items()]))
        return tables


# Rows of a picture --------------------------------------------------------------------------------------------------


def thin(rows: np.ndarray, most: int, always: Sequence[int] = ()) -> np.ndarray:
    """At most so many of the rows (N, columns), all of them where they are not more.

    The steps are cut into equal stretches; of each, the rows with the least and with the greatest loss stay. So do the
    first, the last, and the latest of the steps in `always`, at most half of `most`.
    """
    if len(rows) <= most:
        return rows
    always = list(always)[-(most // 2) :]
    kept = np.isin(rows[:, 0], np.array(always, dtype=rows.dtype))
    kept[[0, -1]] = True
    known = np.flatnonzero(~np.isnan(rows[:, 1]))  # rows that have a loss
    n_bins = (most - int(kept.sum())) // 2
    first, last = rows[0, 0], rows[-1, 0]
    bins = np.minimum((n_bins * (rows[known, 0] - first) / max(1, last - first)).astype(int), n_bins - 1)
    order = known[np.lexsort((rows[known, 1], bins))]  # by stretch, then by loss
    ends = np.flatnonzero(np.diff(np.sort(bins)))
    kept[order[np.concatenate([[0], ends + 1])]] = True
    kept[order[np.concatenate([ends, [len(order) - 1]])]] = True
    return rows[kept]


def _row(line: Mapping[str, Any]) -> list[float]:
    return [_value(line.get(name)) for name in COLUMNS]


def _rows_of(lines: Sequence[Mapping[str, Any]]) -> np.ndarray:
    return np.array([_row(line) for line in lines], dtype=np.float32).reshape(-1, len(COLUMNS))


def _value(value: float | None) -> float:
    """NaN where nothing was recorded, ∞ where what was recorded is no finite number."""
    if value is None:
        return math.nan
    return float(value) if math.isfinite(value) else math.inf


def _marks(lines: Sequence[Mapping[str, Any]]) -> list[int]:
    """Steps after which more was asked; they stay in every picture."""
    return [line["step"] for line in lines if line.get("skills") or line.get("samples") or "validation_loss" in line]


def _odd(rows: np.ndarray) -> list[int]:
    odd = rows[np.isinf(rows[:, 1]), 0]
    return [len(odd), int(odd[0]) if len(odd) else 0]


def _pairs(steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    values = np.where(np.isfinite(values), values, np.inf)
    return np.stack([steps.astype(np.float32), values.astype(np.float32)], axis=1)


def _exam(line: Mapping[str, Any]) -> list[Any]:
    shares = {name: float(share) if math.isfinite(share) else None for name, share in line["skills"].items()}
    return [line["step"], shares]


def _sample(line: Mapping[str, Any]) -> list[Any]:
    cut = {prompt: text if len(text) <= TEXT else f"{text[:TEXT]}…" for prompt, text in line["samples"].items()}
    return [line["step"], cut]


def _telling(curve: Curve) -> int:
    """The step of the examination before which one skill rose most; the newest, where none was examined twice."""
    rises = []
    for name in curve.skills:
        steps, shares = curve.skill(name)
        rises += zip(np.diff(shares).tolist(), (-steps[1:]).tolist(), strict=True)
    return -max(rises)[1] if rises else -1


# Reading a step, as training.js does --------------------------------------------------------------------------------


def _at(steps: np.ndarray, step: int) -> int:
    """The last row up to a step, or the first; the last of all for −1."""
    return len(steps) - 1 if step < 0 else max(0, bisect_right(steps.tolist(), step) - 1)


def _latest(items: list[list[Any]], step: float) -> tuple[list[Any] | None, list[Any] | None]:
    """The last [step, …] up to a step, and the one before it."""
    known = [item for item in items if item[0] <= step]
    return (known[-1] if known else None), (known[-2] if len(known) > 1 else None)


def _latest_of(pairs: np.ndarray, step: float) -> float | None:
    known = pairs[pairs[:, 0] <= step] if len(pairs) else pairs
    return float(known[-1, 1]) if len(known) else None


def _said(value: float | None) -> str:
    """Three digits of a float32; of its seven first, as the number that it stands for may lie between two of three."""
    if value is None or math.isnan(value):
        return "–"
    return "not finite" if math.isinf(value) else number(float(f"{value:.7g}"), 3)


def _share(share: float | None) -> str:
    return "–" if share is None else f"{math.floor(100 * share + 0.5) / 100:.2f}"


def _change(change: float | None) -> str:
    if change is None:
        return ""
    size = _share(abs(change))
    return size if size == "0.00" else f"{'+' if change > 0 else '−'}{size}"


def _label(name: str) -> str:
    return name.replace("_", " ")


# Where it runs ------------------------------------------------------------------------------------------------------


def _in_kernel() -> bool:
    """Whether this is the kernel of a notebook, where a page may show the widget."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


def _by_machine() -> bool:
    """Whether nobody looks: `llmlab notebooks run` and the notebook tests."""
    return str(GUARD) in os.environ.get("PYTHONPATH", "").split(os.pathsep)
