"""What ships in data/ is what data/README.md says, small enough, and opens in other libraries too."""

import dataclasses
import json
import re

import pytest
import tokenizers
import torch

from llmlab import checkpoint, data_path, load_model, world
from llmlab.cli import train

MODEL, TOKENIZER = load_model()


@pytest.fixture
def data(repo):
    return repo / "data"


def test_the_readme_names_every_file_and_every_skill(data):
    text = (data / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `([\w.]+)` \|", text, flags=re.MULTILINE))
    files = {path.name for path in data.iterdir() if path.name != "README.md" and not path.name.startswith(".")}
    assert named >= files | set(world.SKILLS) | set(world.EVALUATIONS)
    assert named <= files | set(world.SKILLS) | set(world.EVALUATIONS)
    for skill, share in world.MIXTURE.items():
        assert re.search(rf"\| `{skill}` \|.*\| {share:.2f} \|", text), f"the share of {skill} is not {share:.2f}"


def test_the_files_are_small_enough(data):
    assert (data / "model.safetensors").stat().st_size <= 8_000_000
    assert sum(path.stat().st_size for path in data.rglob("*") if path.is_file()) <= 20_000_000


def test_the_model_is_the_recipes(data):
    assert MODEL.config == train.MODEL
    _, metadata = checkpoint.load_tensors(data / "model.safetensors")
    assert metadata["training"] == json.loads(json.dumps(dataclasses.asdict(train.TRAINING)))
    assert TOKENIZER.vocab_size == MODEL.config.vocab_size
    assert 2_000_000 <= sum(p.numel() for p in MODEL.parameters()) <= 4_000_000


def test_the_tokenizers_library_gives_the_same_ids(data):
    theirs = tokenizers.Tokenizer.from_file(str(data / "tokenizer.json"))
    for index in range(200):
        text = world.document(11, index).text
        assert theirs.encode(text).ids == TOKENIZER.encode(text)
    assert theirs.encode("<s>").ids == [TOKENIZER.special_tokens["<s>"]]


def test_the_sample_is_the_worlds(data):
    assert (data / "world_sample.txt").read_text(encoding="utf-8") == world.sample()


def test_the_curve_goes_down_to_the_end_of_the_run(data):
    lines = [json.loads(line) for line in (data / "training.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == train.TRAINING.n_steps
    checked = [line["validation_loss"] for line in lines if "validation_loss" in line]
    assert len(checked) >= 5 and checked[-1] < checked[0] and checked[-1] == min(checked)


def test_the_model_knows_more_than_chance():
    """No exact score (the model is trained again now and then): far above what guessing could reach."""
    scores = world.evaluate(MODEL, ["facts_true", "facts_invented", "senses"], 60, tokenizer=TOKENIZER)
    assert all(score.low > 0.3 for score in scores.values()), scores
    damaged = checkpoint.load(data_path("model.safetensors"))
    with torch.no_grad():
        damaged.blocks[0].ffn.down.weight.zero_()
    worse = world.evaluate(damaged, ["facts_invented"], 60, tokenizer=TOKENIZER)["facts_invented"]
    assert worse.high < scores["facts_invented"].low  # the measure notices damage
