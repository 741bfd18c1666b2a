"""The figures of the model card: each measure against a count by hand, or on a model made to have a known answer."""

import itertools

import pytest
import torch
from models import random_model

from llmlab import heads, load_model, model_card, repetition, trace, world
from llmlab.cli import measure
from llmlab.config import ModelConfig
from llmlab.training import WorldBatches, validation_loss

MODEL, TOKENIZER = load_model()
CONFIG = ModelConfig(vocab_size=TOKENIZER.vocab_size, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, max_seq_len=256)


@pytest.fixture(scope="module")
def blank():
    return random_model(CONFIG)


def test_the_halves_of_the_facts_are_halves_and_differ_in_rank(monkeypatch):
    asked = {}

    def answers(model, items, *, tokenizer):
        asked.setdefault(items[0].skill, items)
        return [item.frequency_rank <= 5 for item in items]

    monkeypatch.setattr(world, "answers", answers)
    scores = model_card.facts_by_frequency(None, None)
    for skill, facts in (("facts_true", world.true_facts()), ("facts_invented", world.invented_facts())):
        frequent, rare = scores[f"{skill}, frequent half"], scores[f"{skill}, rare half"]
        assert frequent.total + rare.total == 2 * len(facts) == len({item.prompt for item in asked[skill]})
        assert frequent.total == pytest.approx(len(facts), abs=6)
        assert frequent.correct == 2 * sum(fact.frequency_rank <= 5 for fact in facts) and rare.correct == 0
        assert scores[f"{skill}, frequent half, as told"] == frequent
        assert scores[f"{skill}, rare half, as told"] == rare
        other = {"facts_true": "wordings_true", "facts_invented": "wordings_invented"}[skill]
        frequent, rare = (scores[f"{skill}, {half} half, reworded"] for half in ("frequent", "rare"))
        assert frequent.total + rare.total == len({item.prompt for item in asked[other]}) > 4 * len(facts)
        assert rare.correct == 0 < frequent.correct < frequent.total


def test_sampled_sentences_are_whole_and_repeat_with_the_seed():
    first = model_card.sampled_sentences(MODEL, TOKENIZER, n_texts=25, seed=3)
    assert first == model_card.sampled_sentences(MODEL, TOKENIZER, n_texts=25, seed=3)
    assert first != model_card.sampled_sentences(MODEL, TOKENIZER, n_texts=25, seed=4)
    assert len(first) > 25 and not any("</s>" in sentence for sentence in first)


def test_texts_that_a_model_ends_are_counted(monkeypatch):
    """A text that stops with the end token is ended; one that is cut is not, even where it had one before."""
    end = TOKENIZER.special_tokens["</s>"]
    monkeypatch.setattr(model_card, "generate_batch", lambda *a, **k: [[5, end], [end, 5], [5, 6], [end]])
    score = model_card.ended(MODEL, TOKENIZER, n_texts=4)
    assert (score.correct, score.total) == (2, 4)


def test_the_loss_at_ends_and_elsewhere_is_the_mean_over_those_targets(blank):
    """By hand, document by document: no packing, no mask."""
    batches = WorldBatches(TOKENIZER, 8, CONFIG.max_seq_len, seed=model_card.UNSEEN)
    end = TOKENIZER.special_tokens["</s>"]
    costs = {True: [], False: []}
    batch = batches(0)
    for tokens, targets, positions in zip(batch.tokens, batch.targets, batch.positions, strict=True):
        starts = [*(positions == 0).nonzero().flatten().tolist(), len(tokens)]
        for start, stop in itertools.pairwise(starts):
            with torch.inference_mode():
                likely = blank(tokens[None, start:stop])[0].log_softmax(-1)
            for row, target in zip(likely, targets[start:stop].tolist(), strict=True):
                if target >= 0:
                    costs[target == end].append(-row[target].item())
    found = model_card.losses_at_ends(blank, TOKENIZER, n_batches=1)
    assert found["end tokens"] == pytest.approx(sum(costs[True]) / len(costs[True]), rel=1e-5)
    assert found["other tokens"] == pytest.approx(sum(costs[False]) / len(costs[False]), rel=1e-5)


def test_accepted_counts_what_the_world_says():
    score = model_card.accepted(["27 + 35 = 62.", "27 + 35 = 63.", "The capital of France is Paris.", "Paris Paris."])
    assert (score.correct, score.total) == (2, 4)


def test_spans_are_the_tokens_of_the_word():
    text = "The animal didn't cross the street because it was too tired.\nQuestion: What was too tired?\nAnswer: the"
    tokens = TOKENIZER.encode(text)
    for word in ("animal", "street", "it", "tired", "cross"):
        (of,) = model_card.spans(TOKENIZER, text, [word])
        assert TOKENIZER.decode([tokens[number] for number in of]).strip(" .") == word
        before = TOKENIZER.decode(tokens[: of[0]])
        assert text.startswith(before) and f" {word}" not in before
    with pytest.raises(ValueError, match="no word 'ani'"):
        model_card.spans(TOKENIZER, text, ["ani"])


def test_pronoun_scores_compare_the_two_nouns(blank):
    """By hand: for each sentence, the weight on each noun's tokens, found by encoding what stands before it."""
    total = torch.zeros(2, 4)
    items = world.items("pronouns", 12)
    for item in items:
        sentence = item.prompt.split("\n")[0]
        slots = world.parse(sentence).slots
        noun = item.answer[1:-1].removeprefix("the ")
        other = ({slots["x"], slots["y"]} - {noun}).pop()
        prompt = item.prompt + (" the" if "the " in item.answer else "")
        ids = [TOKENIZER.special_tokens["<s>"], *TOKENIZER.encode(prompt)]
        weights = heads.attention_weights(blank, torch.tensor([ids]))[:, 0, :, -1]  # (L, H, T)
        for word, sign in ((noun, 1), (other, -1)):
            at = next(
                i
                for i in range(len(sentence))
                if sentence[i:].startswith(word) and sentence[: i or 1][-1] in " " + sentence[0]
            )
            begin = 1 + len(TOKENIZER.encode(sentence[: max(0, at - 1)]))
            stop = 1 + len(TOKENIZER.encode(sentence[: at + len(word)]))
            total += sign * weights[..., begin:stop].sum(-1)
    torch.testing.assert_close(model_card.pronoun_scores(blank, TOKENIZER, 12), total / len(items), atol=1e-5, rtol=0)


def test_words_said_twice_are_everyday_words():
    tokens = model_card.words_said_twice(TOKENIZER, period=10, batch_size=5)
    assert tokens.shape == (5, 21) and torch.equal(tokens[:, 1:11], tokens[:, 11:])
    assert (tokens[:, 0] == TOKENIZER.special_tokens["<s>"]).all()
    words = [[TOKENIZER.decode([token]) for token in row] for row in tokens[:, 1:11].tolist()]
    assert all(word[0] == " " and word[1:] in world.EVERYDAY for row in words for word in row)
    assert all(len(set(row)) == 10 for row in words)


def test_words_said_twice_fit_a_small_vocabulary():
    tokens = model_card.words_said_twice(TOKENIZER, period=10, vocab_size=60)
    assert tokens[:, 1:].max() < 60 and not set(TOKENIZER.special_tokens.values()) & set(
        tokens[:, 1:].flatten().tolist()
    )
    with pytest.raises(ValueError, match="at least 10 candidates"):
        model_card.words_said_twice(TOKENIZER, period=10, vocab_size=8)


def test_taking_out_a_head_that_matters_costs_more_than_taking_out_none():
    whole = model_card.cost_of(MODEL, TOKENIZER, (), skills=("senses",), n=20, n_batches=1)
    every = [(0, head) for head in range(MODEL.config.n_heads)]
    left = model_card.cost_of(MODEL, TOKENIZER, every, skills=("senses",), n=20, n_batches=1)
    assert left["loss"] > whole["loss"] + 0.1 and set(left) == {"loss", "senses"}


def test_the_cost_of_a_layer_is_that_of_all_its_heads():
    """Layer by layer: with nothing in its place, and with its mean over documents that no training and no loss read."""
    found = model_card.cost_of_layers(MODEL, TOKENIZER, skills=("senses",), n=10, n_batches=1)
    layers = MODEL.config.n_layers
    assert len(found["zero"]) == len(found["mean"]) == layers
    whole = model_card.cost_of(MODEL, TOKENIZER, (), skills=("senses",), n=10, n_batches=1)
    assert {name: found["whole"][name] for name in whole} == whole
    every = [(0, head) for head in range(MODEL.config.n_heads)]
    without = model_card.cost_of(MODEL, TOKENIZER, every, skills=("senses",), n=10, n_batches=1)
    assert found["zero"][0]["loss"] == pytest.approx(without["loss"], abs=1e-4)
    tokens = WorldBatches(TOKENIZER, 8, 256, seed=model_card.UNSEEN + 1)(0).tokens
    with torch.no_grad(), trace.record(MODEL, ["blocks.2.attention.out"]) as seen:
        MODEL(tokens)
    mean = seen["blocks.2.attention.out"].flatten(0, 1).mean(0)
    with trace.patch(MODEL, {"blocks.2.attention.out": lambda out: mean.expand_as(out)}):
        loss = validation_loss(MODEL, WorldBatches(TOKENIZER, 8, 256, seed=model_card.UNSEEN), 1)
        again = repetition.scores_by_pool(MODEL, TOKENIZER)
    assert found["mean"][2]["loss"] == pytest.approx(loss, abs=1e-4)
    assert all(found["mean"][2][pool] == pytest.approx(score.accuracy, abs=0.01) for pool, score in again.items())


def test_random_heads_are_as_many_others(monkeypatch):
    asked = []

    def cost_of(model, tokenizer, taken, *, n_batches):
        asked.append(list(taken))
        return {"loss": n_batches}

    monkeypatch.setattr(model_card, "cost_of", cost_of)
    taken = [(1, 0), (1, 1), (0, 3)]
    for _ in range(2):
        losses = model_card.cost_of_random_heads(MODEL, TOKENIZER, taken, n_sets=4, n_batches=7)
        assert losses == 4 * [{"loss": 7}]
    assert asked[:4] == asked[4:] and len({tuple(sorted(one)) for one in asked}) == 4
    for drawn in asked:
        assert len(set(drawn)) == 3 and not set(drawn) & set(taken)
        assert all(layer < MODEL.config.n_layers and head < MODEL.config.n_heads for layer, head in drawn)


def test_repetition_by_pool_is_that_of_single_lists():
    found = model_card.repetition_by_pool(MODEL, TOKENIZER, n=3)
    pools = repetition.token_pools(TOKENIZER)
    assert found.keys() == pools.keys()
    for name, figures in found.items():
        rows = repetition.unseen_lists(pools[name], n=3, period=12).tolist()
        right = []
        for row in rows:
            said = torch.tensor([[TOKENIZER.special_tokens["<s>"], *row, *row]])
            with torch.no_grad():
                right.append((MODEL(said)[0, 12:-1].argmax(-1) == said[0, 13:]).tolist())
        assert figures["score"] == [sum(sum(one[1:]) for one in right), 33]
        assert figures["by_position"] == pytest.approx([sum(at) / 3 for at in zip(*right, strict=True)])
        assert len(figures["induction"]) == MODEL.config.n_layers


def test_finding_is_measured_at_every_depth_and_length():
    class Nothing(torch.nn.Module):
        """Never right: it says token 0."""

        def forward(self, tokens):
            return torch.nn.functional.one_hot(torch.zeros_like(tokens), TOKENIZER.vocab_size).float()

    found = model_card.finding_by_depth(Nothing(), TOKENIZER, (None, 12), n=4)
    assert found.keys() == {"short", "12"}
    for length, by_depth in found.items():
        assert list(by_depth) == ["0.0", "0.25", "0.5", "0.75", "1.0"]
        assert all((score.correct, score.total) == (0, 4) for score in by_depth.values())
        n_sentences = None if length == "short" else int(length)
        items = world.finding_by_depth(4, n_sentences=n_sentences)
        assert items[0] != items[1] and all(len(of) == 4 for of in items.values())
    with pytest.raises(ValueError, match="from 6 to 50"):
        world.finding_by_depth(2, n_sentences=51)


def test_the_best_head_is_the_one_with_the_highest_score():
    scores = torch.zeros(3, 4)
    scores[2, 1] = 0.5
    assert model_card.best(scores) == (2, 1)


def test_int8_rows_are_off_by_half_a_scale_at_most():
    rows = torch.randn(50, 16, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 3, 50)[:, None]
    rows[7] = 0
    packed, scale = model_card.int8_rows(rows)
    assert packed.dtype == torch.int8 and packed.abs().amax() == 127
    assert ((packed * scale[:, None] - rows).abs() <= 0.5001 * scale[:, None]).all()


def test_the_words_of_the_snapshots_are_words_numbers_and_chinese():
    tokens = model_card.word_rows(TOKENIZER, 300)
    assert tokens == sorted(set(tokens)) and len(tokens) == 300
    texts = [TOKENIZER.decode([token]) for token in tokens]
    assert all(text.strip().isalnum() for text in texts)
    assert set("123") <= set(texts) and any("\u4e00" <= text[0] <= "\u9fff" for text in texts)


def test_a_run_becomes_a_file_of_snapshots(tmp_path, blank):
    from llmlab import checkpoint

    (tmp_path / "snapshots").mkdir()
    TOKENIZER.save(tmp_path / "tokenizer.json")
    other = random_model(CONFIG, seed=1)
    for step, model in ((0, blank), (30, other)):
        checkpoint.save(model, tmp_path / "snapshots" / f"step_{step:06d}.safetensors", step=step)
    models = [(0, blank), (30, other)]
    tensors, figures = model_card.along_training(models, TOKENIZER, n=2)
    assert [one["step"] for one in figures["steps"]] == [0, 30]
    assert set(figures["steps"][0]["skills"]) == set(world.EVALUATIONS)
    for (_, model), rows, scales in zip(models, tensors["rows"], tensors["scales"], strict=True):
        expected = model.embedding.weight[tensors["tokens"]]
        assert ((rows * scales[:, None] - expected).abs() <= 0.5001 * scales[:, None]).all()
    with pytest.raises(ValueError, match="no snapshots"):
        measure.snapshots(tmp_path / "snapshots", tmp_path / "out.safetensors")


def test_snapshots_of_a_second_reading_follow_those_of_the_first(tmp_path, blank, monkeypatch):
    from llmlab import checkpoint

    def along_training(models, tokenizer):
        models = list(models)
        rows = torch.stack([model.embedding.weight[:7, :5].mul(100).to(torch.int8) for _, model in models])
        tensors = {"rows": rows, "scales": rows.float().mean(-1), "tokens": torch.arange(7)}
        return tensors, {"steps": [{"step": step} for step, _ in models]}

    monkeypatch.setattr(model_card, "along_training", along_training)
    TOKENIZER.save(tmp_path / "tokenizer.json")
    (tmp_path / "snapshots").mkdir()
    out = tmp_path / "out.safetensors"

    def snapshot(step, model):
        checkpoint.save(model, tmp_path / "snapshots" / f"step_{step:06d}.safetensors", step=step)

    def made():
        measure.snapshots(tmp_path, out)
        return checkpoint.load_tensors(out)

    snapshot(0, blank)
    snapshot(20, random_model(CONFIG, seed=1))
    before, _ = made()
    for file in (tmp_path / "snapshots").iterdir():
        file.unlink()
    snapshot(30, random_model(CONFIG, seed=2))
    for _ in range(2):  # made again, nothing stands there twice
        tensors, metadata = made()
        assert [one["step"] for one in metadata["steps"]] == [0, 20, 30]
        assert torch.equal(tensors["rows"][:2], before["rows"]) and torch.equal(tensors["scales"][:2], before["scales"])
        assert len({tuple(rows.flatten().tolist()) for rows in tensors["rows"]}) == 3
        assert tensors["rows"].shape[0] == tensors["scales"].shape[0] == 3
    checkpoint.save_tensors(out, before | {"tokens": before["tokens"] + 1}, {"steps": metadata["steps"][:2]})
    with pytest.raises(ValueError, match="to be of the tokens of this run"):
        made()


def test_the_table_stands_between_its_marks():
    card = {
        "n": 2,
        "scores": {"copying": [1, 2]},
        "heads": {"induction": [[0.1, 0.9]]},
        "whole": {"loss": 1.0, "copying": 0.5},
        "without": {"induction": {"head": [0, 1], "score": 0.9, "loss": 1.25, "copying": 0.0}},
        "induction_fed_by": [[0.75, 0.25], [0.5, 0.85]],
        "repetition": {
            "other words": {
                "score": [1, 2],
                "by_position": [0.0, 0.2, 0.3, 0.4, 0.9, 0.9, 0.6, 0.7, 0.8],
                "induction": [[0.1, 0.2], [0.75, 0.3]],
            }
        },
        "finding": {"short": {"0.0": [1, 4], "1.0": [3, 4]}, "30": {"0.0": [0, 4], "1.0": [4, 4]}},
        "layers": {
            "whole": {"loss": 1.0, "copying": 0.5, "other words": 0.4},
            "zero": [{"loss": 2.0, "copying": 0.25, "other words": 0.0}],
            "mean": [{"loss": 1.5, "copying": 0.0, "other words": 0.125}],
            "random heads": [{"loss": 1.125, "copying": 1.0}],
        },
        "siblings": {
            "model": {"copying": [1, 2], "loss": {"end tokens": 0.5}},
            "mha": {"copying": [0, 2], "loss": {"end tokens": 0.125}},
        },
        "facts": {"positions": ["<s>", "in"], "residual": [[0.0, 1.0]]},
    }
    table = measure.tables(card)
    assert "| `copying` | 0.500 | 0.095–0.905 | 2 |" in table  # Wilson's interval for 1 of 2
    assert "| induction | 1.2 | 0.90 | 0.10 | 1.000 → 1.250 | copying 0.50 → 0.00 |" in table
    assert "induction score of 1.2 |\n| --- | --- |\n| 1.2 | 0.25 |\n| 2.1 | 0.50 |\n| 1.1 | 0.75 |" in table
    assert "| other words | 0.50 (0.09–0.91, n=2) | 0.30 | 0.70 | 2.1 | 0.75 |" in table
    assert "| `finding`, sentences | depth 0.0 | depth 1.0 |" in table
    assert "| 6 to 8 | 0.25 | 0.75 |\n| 30 | 0.00 | 1.00 |" in table
    assert "| nothing | 1.00 | 0.50 | 0.40 |\n| layer 1 | 2.00 | 0.25 | 0.00 |" in table
    assert "| `copying` | 0.50 (0.09–0.91, n=2) | 0.00 (0.00–0.66, n=2) |\n| loss, end tokens | 0.50 | 0.12 |" in table
    assert "| layer 1, its mean instead | 1.50 | 0.00 | 0.12 |" in table
    assert "| six heads at random, draw 1 | 1.12 | 1.00 | – |" in table
    assert "| residual | 1 | 0.00 | 1.00 |" in table
    text = f"before {measure.BEGIN} old {measure.END} after"
    once = measure.filled(text, table)
    assert once == measure.filled(once, table) and table in once and "old" not in once
    assert once.startswith("before ") and once.endswith(" after")
    with pytest.raises(ValueError, match="expected the marks"):
        measure.filled("no marks", table)
