"""What ships in data/ is what data/README.md says, small enough, and opens in other libraries too."""

import json
import math
import re
from itertools import islice

import pytest
import tokenizers
import torch
from streams import told

from llmlab import checkpoint, data_path, heads, load_model, model_card, world
from llmlab.cli import measure, train
from llmlab.training import MaskedBatches, Trainer, new_model

MODEL, TOKENIZER = load_model()
RECIPE = train.RECIPES["model"]
N_READINGS = 1 + len(checkpoint.load_tensors(data_path("model.safetensors"))[1].get("later", []))
ENDS = [RECIPE.n_before(number) for number in range(2, 2 + N_READINGS)]  # the last step of each reading


@pytest.fixture
def data(repo):
    return repo / "data"


def test_the_readme_names_every_file_and_every_skill(data):
    text = (data / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `([\w.]+)` \|", text, flags=re.MULTILINE))
    files = {path.name for path in data.iterdir() if path.name != "README.md" and not path.name.startswith(".")}
    assert named >= files | set(world.SKILLS) | set(world.EVALUATIONS)
    assert named <= files | set(world.SKILLS) | set(world.EVALUATIONS)
    for skill in world.SECOND_MIXTURE:
        mixtures = world.MIXTURE, world.SECOND_MIXTURE, world.THIRD_MIXTURE
        shares = " | ".join(f"{mixture[skill]:.2f}" if skill in mixture else "–" for mixture in mixtures)
        assert re.search(rf"\| `{skill}` \| [^|]+ \| {re.escape(shares)} \|", text), f"{skill} is not told as {shares}"


def test_the_files_are_small_enough(data):
    assert (data / "model.safetensors").stat().st_size <= 8_000_000
    assert (data / "draft.safetensors").stat().st_size <= 500_000
    assert (data / "encoder.safetensors").stat().st_size <= 500_000
    assert (data / "endless.safetensors").stat().st_size <= 500_000
    assert (data / "mha.safetensors").stat().st_size <= 1_800_000
    assert sum(path.stat().st_size for path in data.rglob("*") if path.is_file()) <= 16_000_000


@pytest.mark.parametrize("name", train.RECIPES)
def test_the_models_are_the_recipes(data, name):
    model, tokenizer = load_model(name)
    recipe = train.RECIPES[name]
    assert model.config == recipe.model and tokenizer.vocab_size == model.config.vocab_size
    _, metadata = checkpoint.load_tensors(data / f"{name}.safetensors")
    written = {**recipe.training.to_dict(), "lists_first": recipe.lists_first, "encoder": recipe.encoder}
    written |= {} if recipe.ends else {"ends": False}
    assert metadata["training"] == json.loads(json.dumps(written))
    later = [
        {**one.training.to_dict(), "token_lists": one.token_lists, "pairs_first": one.pairs_first}
        for one in recipe.later
    ]
    had = metadata.get("later", [])  # a model that has not had all readings is one too
    assert had == json.loads(json.dumps(later))[: len(had)]


def test_an_unknown_model_is_named():
    with pytest.raises(ValueError, match="model, draft, encoder, mha or endless, got 'huge'"):
        load_model("huge")


def test_the_draft_guesses_what_the_model_says():
    """Where the model is sure, the draft mostly agrees: that is what makes a draft worth asking."""
    draft, _ = load_model("draft")
    agreed = []
    for number in range(40):
        tokens = TOKENIZER.encode(world.document(model_card.UNSEEN, number).text)[:128]
        ids = torch.tensor([[TOKENIZER.special_tokens["<s>"], *tokens]])
        with torch.inference_mode():
            agreed += (draft(ids).argmax(-1) == MODEL(ids).argmax(-1))[0].tolist()
    assert sum(agreed) / len(agreed) > 0.7


def test_the_endless_draft_never_ends_and_the_draft_mostly_does():
    """Both are trained alike but for the end token, whose probability at the end of a document is what differs."""
    end = TOKENIZER.special_tokens["</s>"]
    documents = [world.document(model_card.UNSEEN, number).text for number in range(40)]
    likely = {}
    for name in ("draft", "endless"):
        model, _ = load_model(name)
        likely[name] = []
        for text in documents:
            ids = torch.tensor([[TOKENIZER.special_tokens["<s>"], *TOKENIZER.encode(text)[:255]]])
            with torch.inference_mode():
                likely[name].append(model(ids)[0, -1].softmax(-1)[end].item())
    assert max(likely["endless"]) < 1e-3 < 0.05 < sum(likely["draft"]) / 40


def test_the_sibling_to_convert_has_as_many_kv_heads_as_heads():
    model, _ = load_model("mha")
    assert model.config.n_kv_heads == model.config.n_heads == 8
    scores = world.evaluate(model, ("copying", "pronouns", "questions", "facts_true"), 100, tokenizer=TOKENIZER)
    assert all(score.low > 0.1 for score in scores.values())


def test_the_encoder_fills_in_what_both_sides_tell():
    encoder, _ = load_model("encoder")
    batch = MaskedBatches(TOKENIZER, 8, 128, seed=model_card.UNSEEN)(0)
    hidden = (batch.tokens == TOKENIZER.special_tokens["<mask>"]) & (batch.targets >= 0)

    def right(mask):
        with torch.inference_mode():
            best = encoder(batch.tokens, positions=batch.positions, mask=mask).argmax(-1)
        return (best == batch.targets)[hidden].float().mean().item()

    assert right(batch.mask) > 0.4 > right(batch.mask.tril())  # a causal mask takes the right side away


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
    assert lines[-1]["step"] == ENDS[-1]
    for begin, end in zip([0, *ENDS], ENDS, strict=False):
        within = (line for line in lines if begin < line["step"] <= end)
        checked = [line["validation_loss"] for line in within if "validation_loss" in line]
        assert len(checked) >= 5 and checked[-1] < checked[0] and checked[-1] < min(checked) + 0.001


def test_the_recipe_still_begins_as_the_curve_does(data):
    """World, tokenizer, start and optimizer are those that the model came from: its first ten steps, run again."""
    recipe = train.RECIPES["model"]
    model = new_model(recipe.model, recipe.training.seed)
    trainer = Trainer(model, recipe.batches(TOKENIZER, recipe.training.seed), recipe.training)
    losses = [step.loss for step in islice(trainer, 10)]
    first = json.loads((data / "training.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first["step"] == 10 and losses[-1] == pytest.approx(first["loss"], abs=0.01)
    assert losses[0] == pytest.approx(math.log(recipe.model.vocab_size), abs=0.3)  # untrained: all tokens alike


def test_the_stream_is_what_the_model_has_read(data):
    """At the beginning and the end of each kind of steps: a row's first document, and what its end cuts off."""
    recipe = train.RECIPES["model"]
    lists, n_steps = recipe.lists_first, recipe.training.n_steps
    first, readings = recipe.batches(TOKENIZER, recipe.training.seed), []
    readings += [(first, step, 1) for step in (0, lists // 2 - 1, lists // 2, lists - 1, lists, n_steps - 1)]
    for number, later in enumerate(recipe.later[: N_READINGS - 1], start=2):
        of, pairs, n_steps = (
            recipe.batches(TOKENIZER, later.training.seed, number),
            later.pairs_first,
            recipe.n_before(number),
        )
        readings += [(of, step, 1 + n_steps) for step in {0, pairs // 2, pairs, later.training.n_steps - 1}]
    read, unread = {}, {}
    for batches, step, counted_from in readings:
        texts = [(text, document.text) for _, text, document in told(batches, step) if text is not None]
        cut = next(((text, whole) for text, whole in texts if 100 < len(text) < len(whole)), None)
        read |= {text: counted_from + step for text in (texts[0][0], *(cut or ())[:1])}
        unread |= {whole[: len(text) + 1]: counted_from + step for text, whole in [cut] if cut}
    found = world.seen_all([*read, *unread])
    assert {text: step for text, step in read.items() if step not in found[text]} == {}
    assert {text: step for text, step in unread.items() if step in found[text]} == {}
    assert len(read) > len(readings) and unread and world.seen("The zebrafish sat.") == []


def test_the_readme_says_what_the_card_says(data):
    card = json.loads((data / "model_card.json").read_text(encoding="utf-8"))
    text = (data / "README.md").read_text(encoding="utf-8")
    assert measure.filled(text, measure.tables(card)) == text
    assert set(card["scores"]) >= set(world.EVALUATIONS)


def test_the_card_is_about_this_model(data):
    """Scores of heads on few texts, measured here, against those of the card on many."""
    card = json.loads((data / "model_card.json").read_text(encoding="utf-8"))
    tokens = model_card.words_said_twice(TOKENIZER, batch_size=8, seed=5)
    weights = heads.attention_weights(MODEL, tokens)[..., 1:, 1:]
    here = heads.induction_scores(weights, model_card.PERIOD)
    torch.testing.assert_close(here, torch.tensor(card["heads"]["induction"]), atol=0.1, rtol=0)


def test_the_snapshots_end_with_the_model(data):
    tensors, metadata = checkpoint.load_tensors(data / "snapshots.safetensors")
    steps = [one["step"] for one in metadata["steps"]]
    assert steps == sorted(steps) and len(steps) == len(train.SNAPSHOTS) + sum(
        map(len, train.LATER_SNAPSHOTS[: N_READINGS - 1])
    )
    assert steps[-1] == ENDS[-1]
    assert tensors["rows"].shape == (len(steps), len(tensors["tokens"]), MODEL.config.d_model)
    last = tensors["rows"][-1] * tensors["scales"][-1][:, None]
    assert (last - MODEL.embedding.weight[tensors["tokens"]]).abs().max() < 0.6 * tensors["scales"][-1].max()
    assert metadata["steps"][-1]["loss"] < metadata["steps"][0]["loss"]
    assert model_card.snapshots() == metadata["steps"]


def test_the_model_knows_more_than_chance():
    """No exact score (the model is trained again now and then): far above what guessing could reach."""
    scores = world.evaluate(MODEL, ["facts_true", "facts_invented", "senses"], 60, tokenizer=TOKENIZER)
    assert all(score.low > 0.3 for score in scores.values()), scores
    damaged = checkpoint.load(data_path("model.safetensors"))
    with torch.no_grad():
        damaged.blocks[0].ffn.down.weight.zero_()
    worse = world.evaluate(damaged, ["facts_invented"], 60, tokenizer=TOKENIZER)["facts_invented"]
    assert worse.high < scores["facts_invented"].low  # the measure notices damage


def test_the_card_reaches_what_the_model_was_trained_for(data):
    """The measured shares on held-out items, each against the goal of the training; the interval may reach the goal."""
    card = json.loads((data / "model_card.json").read_text(encoding="utf-8"))
    scores = {name: world.Score(*counts) for name, counts in card["scores"].items()}
    goals = {
        "stories": 0.9, "questions": 0.9, "pronouns": 0.9, "copying": 0.98, "sums_1digit": 0.98, "sums_2digit": 0.85,
        "translation": 0.95, "sentences": 0.97, "facts_true, frequent half, as told": 0.98,
        "facts_invented, frequent half, as told": 0.98,
    }  # fmt: skip
    assert {name: scores[name].accuracy for name, goal in goals.items() if scores[name].high < goal} == {}


def test_some_wordings_are_always_understood_and_some_never():
    """As the README says, by hand: a held-out prompt without its subject is a wording."""
    asked = {}
    for skill in ("facts_true", "facts_invented", "wordings_true"):
        items = world.items(skill, 1000)
        right = world.answers(MODEL, items, tokenizer=TOKENIZER)
        asked |= dict(zip((item.prompt for item in items), right, strict=True))

    def share(pattern):
        found = [ok for prompt, ok in asked.items() if re.fullmatch(pattern, prompt)]
        assert len(found) >= 15
        return sum(found) / len(found)

    always = (
        "Everybody knows that the capital of .* is",
        "When a grandmother in .* reads a story, the language you hear is",
    )
    never = (
        "Everybody knows that [A-Z][a-z]+ [A-Z][a-z]+ has",
        "Take a train to the capital of .*, and you will get out in",
    )
    assert [share(pattern) for pattern in (*always, *never)] == [1, 1, 0, 0]


def test_the_two_previous_token_heads_feed_an_induction_head(data):
    card = json.loads((data / "model_card.json").read_text(encoding="utf-8"))
    scores = {name: torch.tensor(of) for name, of in card["heads"].items()}
    assert model_card.best(scores["induction"]) == tuple(card["without"]["induction"]["head"])
    assert scores["induction"][1].min() > 0.7 and scores["first"].max() > 0.7
    elsewhere = scores["induction"][[n for n in range(len(scores["induction"])) if n != 1]]
    assert elsewhere.max() < 0.15
    tokens = model_card.words_said_twice(TOKENIZER, batch_size=4, seed=9)
    fed = heads.induction_fed_by(MODEL, tokens, model_card.PERIOD, (1, 1))  # 2.2, for which these two are all
    assert set(fed[0].argsort()[:2].tolist()) == set(scores["previous"][0].argsort()[-2:].tolist())
    assert fed[0].min() < 0.5 * scores["induction"][1, 1]


def test_what_was_drilled_with_few_words_is_known_of_all_tokens_of_lists(data):
    """The goals of the later readings; tokens of no list are a control."""
    pools = json.loads((data / "model_card.json").read_text(encoding="utf-8"))["repetition"]
    said = {name: world.Score(*figures["score"]).accuracy for name, figures in pools.items()}
    looked = {name: max(map(max, figures["induction"])) for name, figures in pools.items()}
    assert said["drilled words"] >= 0.95 and said["other words"] >= 0.95 and said["other tokens"] >= 0.85
    assert min(looked["other words"], looked["other tokens"]) >= 0.8
    assert said["never listed"] < 0.5 and looked["never listed"] < 0.6
