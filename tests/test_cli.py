"""The command `llmlab`: its lines on success, and its one line on failure."""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from llmlab import checkpoint, load_model
from llmlab.cli import main
from llmlab.cli.doctor import checks
from llmlab.config import ModelConfig
from llmlab.generate import generate
from llmlab.transformer import Transformer


def test_generate_prints_the_prompt_and_what_the_model_adds(capsys):
    model, tokenizer = load_model()
    prompt = "The capital of France is"
    assert main(["generate", prompt, "--max-new-tokens", "6"]) == 0
    ids = [tokenizer.special_tokens["<s>"], *tokenizer.encode(prompt)]
    new = [step.token for step in generate(model, ids, 6, stop={tokenizer.special_tokens["</s>"]})]
    text = tokenizer.decode([token for token in new if token != tokenizer.special_tokens["</s>"]])
    assert capsys.readouterr().out == f"{prompt}{text}\n"


class Written(list):
    """A standard output that keeps each write apart."""

    write = list.append

    def flush(self):
        pass


def test_generate_never_prints_half_a_character(monkeypatch):
    """A model that writes 猫 and 😀 byte by byte: each arrives whole, and what is never completed becomes U+FFFD."""
    tokens = [*"猫 😀!".encode(), *"猫".encode()[:2]]
    steps = (SimpleNamespace(token=token) for token in tokens)
    monkeypatch.setattr("llmlab.generate.generate", lambda *arguments, **options: steps)
    monkeypatch.setattr(sys, "stdout", Written())
    assert main(["generate", "One day"]) == 0
    assert [text for text in sys.stdout if text] == ["One day", "猫", " ", "😀", "!", "\ufffd", "\n"]


def test_generate_repeats_with_its_seed(capsys):
    texts = []
    for seed in ("1", "1", "2"):
        main(["generate", "One day", "--temperature", "1.5", "--seed", seed, "--max-new-tokens", "20"])
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]


def test_generate_opens_another_checkpoint(tmp_path, capsys):
    model, tokenizer = load_model()
    checkpoint.save(model, tmp_path / "model.safetensors", dtype=torch.bfloat16)
    tokenizer.save(tmp_path / "tokenizer.json")
    assert main(["generate", "One day", "--model", str(tmp_path / "model.safetensors"), "--max-new-tokens", "3"]) == 0
    assert capsys.readouterr().out.startswith("One day")


def short_model(folder, position):
    """A checkpoint of 8 tokens of context beside the course's tokenizer."""
    _, tokenizer = load_model()
    config = ModelConfig(len(tokenizer.vocab), 16, 1, 2, max_seq_len=8, position=position)
    checkpoint.save(Transformer(config), folder / "model.safetensors")
    tokenizer.save(folder / "tokenizer.json")
    return ["generate", "One day", "--model", str(folder / "model.safetensors"), "--max-new-tokens", "12"]


def test_generate_says_in_one_line_that_it_went_past_the_models_context(tmp_path, capsys):
    assert main(short_model(tmp_path, "rope")) == 0
    said = capsys.readouterr()
    assert "One day" in said.out and said.err.count("\n") == 1
    assert said.err.startswith("llmlab generate: the model was trained with 8 tokens at most and now reads 9")


def test_generate_prints_nothing_where_learned_positions_are_too_few(tmp_path, capsys):
    assert main(short_model(tmp_path, "learned")) == 1
    said = capsys.readouterr()
    assert not said.out and "this model has 8 learned positions" in said.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "x", "--temperature", "-1"], "temperature from 1e-06 to 1e+06, got -1"),
        (["generate", "x", "--max-new-tokens", "-1"], "max_new_tokens of at least 0, got -1"),
        (["generate", "x", "--top-p", "1.5"], "0 < top_p <= 1, got 1.5"),
        (["generate", "x", "--model", "nothing.safetensors"], "no checkpoint at nothing.safetensors"),
        (["generate", "\ud800"], "surrogate"),
        (["train", "--run", "unused", "--set", "n_head=3"], "expected --set FIELD=VALUE"),
        (["train", "--which", "encoder", "--from", "x.safetensors"], "expected a recipe with a second reading"),
        (["train", "--from", "x.safetensors"], "no checkpoint at x.safetensors"),
    ],
)
def test_what_goes_wrong_is_said_in_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and error.startswith(f"llmlab {arguments[0]}: ")


def test_an_unknown_command_gets_a_usage_line(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["dance"])
    assert stop.value.code == 2
    assert "usage: llmlab" in capsys.readouterr().err


def test_doctor_finds_everything_in_place(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "FAIL" not in out and "The capital of France is Paris" in out
    assert out.count("\n") == len(list(checks())) + 1


def test_doctor_names_what_is_missing_and_goes_on(monkeypatch, capsys):
    monkeypatch.setattr("llmlab.cli.doctor._requirements", lambda: ["torch>=99", "no-such-package>=1"])

    def no_data(name):
        raise FileNotFoundError(f"no data file {name!r}")

    monkeypatch.setattr("llmlab.data_path", no_data)
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "FAIL  torch" in out and "expected >=99" in out
    assert "FAIL  no-such-package not installed" in out
    assert "FAIL  model" in out and "no data file 'model.safetensors'" in out
    assert out.splitlines()[-1] == "5 of the checks failed"


def test_a_mistyped_command_is_asked_back(capsys):
    with pytest.raises(SystemExit):
        main(["docter"])
    assert "did you mean doctor?" in capsys.readouterr().err


def test_reset_works_from_the_folder_where_jupyterlabs_terminal_starts(tmp_path, monkeypatch, capfd):
    course = tmp_path / "course"
    (course / "llmlab").mkdir(parents=True)
    (course / "llmlab" / "__init__.py").touch()
    (course / "notebooks").mkdir()
    (course / "work").mkdir()
    monkeypatch.chdir(course / "work")
    assert main(["reset", "00"]) == 1
    assert "llmlab reset: expected the course's launcher at" in capfd.readouterr().err
    shutil.copy(Path(__file__).parents[1] / "lab.py", course)
    (course / "notebooks" / "00_welcome.ipynb").write_text("{}")
    (course / "work" / "00_welcome.ipynb").write_text("mine")
    assert main(["reset", "00"]) == 0
    assert capfd.readouterr().out.startswith("work/00_welcome.ipynb is as the course has it; your version is work/")
    assert (course / "work" / "00_welcome.ipynb").read_text() == "{}"
    assert main(["reset", "01"]) == 1
    assert "reset takes one of 00" in capfd.readouterr().err
