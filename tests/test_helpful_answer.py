"""The answer of a check with its buttons: what they show, what is recorded, and that no text becomes HTML."""

import pytest

from llmlab.exercises import check, solution
from llmlab.exercises.look import Answer
from llmlab.exercises.store import home, store_in
from llmlab.widgets.answer import HelpfulAnswer


@pytest.fixture(autouse=True)
def fresh_home(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMLAB_HOME", str(tmp_path / "home"))


def test_buttons_do_what_the_calls_do_and_are_recorded_alike():
    answer = check("kv_cache.chunk_mask", lambda n_past, n_new: None)
    assert (answer.status, answer.passed, answer.shown) == ("wrong", False, [])
    answer.asked = ["hint"]
    assert len(answer.shown) == 1 and answer.shown[0]["label"] == "Hint 1 of 2"
    answer.asked = ["hint", "hint", "solution"]
    assert [help["label"] for help in answer.shown] == ["Hint 1 of 2", "Hint 2 of 2", "Solution"]
    code = "".join(text for _, text in answer.shown[2]["parts"][1]["marked"])
    assert code.strip() == solution("kv_cache.chunk_mask").parts[1].source.strip()
    record = store_in(home()).read()[0]["exercises"]["kv_cache.chunk_mask"]
    assert record == {"attempts": 1, "passed": False, "hints": 2, "solution_seen": True}
    assert answer.busy is False and answer.error == ""


def test_an_exercise_not_yet_attempted_offers_help_and_a_right_one_does_not():
    untouched = check("kv_cache.chunk_mask", ...)
    assert isinstance(untouched, HelpfulAnswer) and untouched.status == "not attempted"
    right = check("kv_cache.count_keys", lambda p, n: (n * p + n * (n - 1) // 2, p + n - 1))
    assert right.passed and not isinstance(right, HelpfulAnswer)


def test_an_unknown_kind_of_help_is_refused_and_a_failing_one_is_shown():
    answer = HelpfulAnswer(Answer("no", "", status="wrong"), lambda kind: 1 / 0)
    with pytest.raises(Exception, match="hint"):
        answer.asked = ["answer"]
    answer.asked = ["hint"]
    assert answer.error == "ZeroDivisionError: division by zero" and answer.shown == []


def test_without_a_kernel_the_answer_shows_as_text_and_html_with_everything_escaped():
    def chunk_mask(n_past, n_new):
        raise ValueError("<script>alert(1)</script>")

    answer = check("kv_cache.chunk_mask", chunk_mask)
    bundle, _ = answer._repr_mimebundle_()
    assert "&lt;script&gt;" in bundle["text/html"] and "<script>" not in bundle["text/html"]
    assert bundle["text/plain"] == repr(answer) and repr(answer).startswith("✗ not yet: The mask of a chunk")
