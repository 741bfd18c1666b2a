"""The curve of a run as a table."""

import json

import numpy as np
import pytest

from llmlab import data_path
from llmlab.training import Curve


def test_a_curve_gives_the_lines_that_have_a_column():
    lines = [
        {"step": 1, "loss": 8.0, "lr": 0.1},
        {"step": 2, "loss": 7.0, "validation_loss": 7.5, "skills": {"sums": 0.5}, "samples": {"a": "b"}},
        {"step": 5, "loss": 6.0, "skills": {"sums": 0.75, "facts": 0.0}},
    ]
    curve = Curve("run", lines, n_steps=10)
    for name, steps, values in (("loss", [1, 2, 5], [8, 7, 6]), ("lr", [1], [0.1]), ("validation_loss", [2], [7.5])):
        assert [list(part) for part in curve.column(name)] == [steps, values]
    assert [len(part) for part in curve.column("norm")] == [0, 0]
    assert [list(part) for part in curve.skill("sums")] == [[2, 5], [0.5, 0.75]]
    assert curve.skills == ("sums", "facts") and curve.samples == [(2, {"a": "b"})]


def test_what_is_wrong_is_named():
    curve = Curve("run", [{"step": 3, "loss": 1.0}])
    for step in (3, 2, None, "4"):
        with pytest.raises(ValueError, match=f"run: expected a line with a step after 3, got {step!r}"):
            curve.add({"step": step, "loss": 1.0})
    assert len(curve.lines) == 1
    with pytest.raises(ValueError, match="unknown column 'losses'; a curve has loss, validation_loss"):
        curve.column("losses")


def test_the_shipped_models_run_is_read():
    path = data_path("training.jsonl")
    curve = Curve.read(path, "model")
    steps, losses = curve.column("loss")
    raw = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert np.array_equal(steps, [line["step"] for line in raw]) and len(steps) > 3000
    assert np.array_equal(losses, [line["loss"] for line in raw])
    assert "pronouns" in curve.skills and len(curve.skill("pronouns")[0]) == sum("skills" in line for line in raw)
