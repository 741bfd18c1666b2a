"""Edits against least squares solved otherwise, against patched values, and against questions asked one by one."""

import copy
from dataclasses import replace

import pytest
import torch
from models import TINY, TINY_LLAMA, TINY_MIXTRAL, random_model, random_tokens

import llmlab
from llmlab import editing, trace, world
from llmlab.editing import Edit, Site

DENSE = [name for name in TINY if name != "mixtral"]
SITES = [Site(0, part, place) for part in editing.PARTS for place in editing.PLACES]


class Letters:
    """A tokenizer of single characters."""

    special_tokens = {"<s>": 0, "</s>": 96}  # noqa: RUF012

    def encode(self, text):
        return [1 + ord(letter) % 95 for letter in text]


@pytest.fixture(params=DENSE)
def model(request):
    return random_model(TINY[request.param])


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# One matrix ----------------------------------------------------------------------------------------------------------


def test_the_edit_is_least_squares_under_one_condition():
    """Solved independently: the condition is one more row of a plain least-squares problem, with a huge weight."""
    weight, others, key, value = drawn(5, 7), drawn(40, 7, seed=1), drawn(7, seed=2), drawn(5, seed=3)
    found = editing.rank_one(weight, key, value, others.T @ others / 40)
    rows, targets = torch.cat([others, 1e6 * key[None]]), torch.cat([others @ weight.T, 1e6 * value[None]])
    expected = torch.linalg.lstsq(rows, targets).solution.T
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(found @ key, value)
    assert torch.linalg.matrix_rank(found - weight) == 1


def test_without_a_moment_all_directions_are_held_alike():
    weight, key, value = drawn(5, 7), drawn(7, seed=2), drawn(5, seed=3)
    naive = editing.rank_one(weight, key, value)
    torch.testing.assert_close(naive, editing.rank_one(weight, key, value, torch.eye(7)))
    across = drawn(7, seed=4)
    across -= key * (across @ key) / (key @ key)
    torch.testing.assert_close(naive @ across, weight @ across)
    torch.testing.assert_close(editing.rank_one(weight, 3 * key, 3 * value), naive)


def test_the_moment_spares_the_other_keys():
    weight, key, value = drawn(5, 7), drawn(7, seed=2), drawn(5, seed=3)
    others = drawn(40, 7, seed=1) * torch.tensor([9, 9, 9, 1, 1, 0.1, 0.1])

    def harm(new):
        return ((new - weight) @ others.T).pow(2).sum().item()

    assert harm(editing.rank_one(weight, key, value, others.T @ others)) < 0.1 * harm(
        editing.rank_one(weight, key, value)
    )


def test_bad_matrices_are_named():
    weight, key, value = drawn(5, 7), drawn(7), drawn(5)
    with pytest.raises(ValueError, match=r"a key \(7,\) and a value \(5,\), got \(5,\) and \(7,\)"):
        editing.rank_one(weight, value, key)
    with pytest.raises(ValueError, match="a key that is not zero"):
        editing.rank_one(weight, 0 * key, value)
    with pytest.raises(ValueError, match=r"a moment \(7, 7\), got \(5, 5\)"):
        editing.rank_one(weight, key, value, torch.eye(5))
    with pytest.raises(ValueError, match="not positive definite"):
        editing.rank_one(weight, key, value, torch.outer(key, key))


# Keys ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", editing.PARTS)
def test_the_matrix_times_its_key_is_its_value(model, part):
    site, tokens = Site(1, part), random_tokens(model.config, 2, 6)
    with torch.no_grad(), trace.record(model, [site.value]) as seen:
        model(tokens)
    of = model.blocks[1].ffn.down if part == "ffn" else model.blocks[1].attention.o_proj
    assert model.get_parameter(site.parameter) is of.weight
    with torch.no_grad():
        torch.testing.assert_close(of(editing.keys(model, tokens, site)), seen[site.value], atol=1e-4, rtol=1e-4)


def test_the_second_moment_is_a_mean_over_tokens(model):
    site, batches = Site(0), [random_tokens(model.config, 2, 6), random_tokens(model.config, 1, 4, seed=2)]
    every = [key.double() for tokens in batches for row in editing.keys(model, tokens, site) for key in row]
    expected = sum(torch.outer(key, key) for key in every) / 16
    torch.testing.assert_close(editing.second_moment(model, batches, site, diagonal=0), expected)
    more = editing.second_moment(model, batches, site, diagonal=0.5)
    torch.testing.assert_close(
        more - expected, 0.5 * expected.trace() / len(expected) * torch.eye(len(expected)).double()
    )
    with pytest.raises(ValueError, match="at least one batch"):
        editing.second_moment(model, [], site)


def test_the_texts_are_the_worlds_one_after_another():
    _, tokenizer = llmlab.load_model("draft")
    batches = editing.batches_of_texts(tokenizer, n_tokens=3000, length=100, batch_size=8, seed=3)
    text = tokenizer.decode(torch.cat(batches).flatten().tolist())
    expected = "".join(f"<s>{doc.text}</s>" for doc, _ in zip(world.documents(3, reading=2), range(80), strict=False))
    assert expected.startswith(text)
    assert {tuple(b.shape) for b in batches[:-1]} == {(8, 100)}
    assert 2900 <= sum(b.numel() for b in batches) <= 3300


# The edit ------------------------------------------------------------------------------------------------------------


def log_probability(model, context, prompt, answer):
    """Of the answer's characters, one run for each."""
    ids, total = [0, *Letters().encode(context + prompt)], 0.0
    for token in Letters().encode(answer):
        with torch.no_grad():
            total += model(torch.tensor([ids]))[0, -1].log_softmax(-1)[token].item()
        ids.append(token)
    return total


@pytest.mark.parametrize("site", SITES, ids=lambda site: f"{site.part}-{site.place}")
def test_the_value_makes_the_answer_likelier_and_the_weights_come_back(model, site):
    before = copy.deepcopy(model.state_dict())
    edit = editing.edit_fact(model, Letters(), "Anna is", " x", site, None, subject="Anna", steps=80, decay=0)
    at = 4 if site.place == "subject" else 7

    def add(value):  # the change that was looked for, at its token alone
        return torch.cat([value[:, :at], value[:, at : at + 1] + edit.left, value[:, at + 1 :]], 1)

    low = log_probability(model, "", "Anna is", " x")
    with trace.patch(model, {site.value: add}):
        assert log_probability(model, "", "Anna is", " x") > low + 0.01
    with editing.edited(model, edit):
        changed = {name for name, weight in model.state_dict().items() if not torch.equal(weight, before[name])}
        difference = model.get_parameter(site.parameter) - before[site.parameter]
    assert changed == {site.parameter}
    torch.testing.assert_close(difference, edit.change(), atol=1e-5, rtol=1e-4)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


@pytest.mark.parametrize("place", editing.PLACES)
def test_the_edit_is_the_changed_value_at_its_token(place):
    """With one prompt the edited matrix gives exactly the value that was looked for: as when that is patched in."""
    model, site = random_model(TINY_LLAMA), Site(1, "ffn", place)  # of 3 layers: the last one reaches no later token
    edit = editing.edit_fact(model, Letters(), "Anna is", "x", site, None, subject="anna", steps=10)
    tokens = torch.tensor([[0, *Letters().encode("Anna is")]])
    at = 4 if place == "subject" else 7
    key = editing.keys(model, tokens, site)[0, at]
    change = edit.left * (edit.right @ key)

    def add(value):
        return torch.cat([value[:, :at], value[:, at : at + 1] + change, value[:, at + 1 :]], 1)

    with torch.no_grad(), trace.record(model, [site.value]) as seen, editing.edited(model, edit):
        model(tokens)
    with torch.no_grad(), trace.record(model, [site.value]) as wanted, trace.patch(model, {site.value: add}):
        model(tokens)
    torch.testing.assert_close(seen[site.value][0, at], wanted[site.value][0, at], atol=1e-4, rtol=1e-4)
    assert change.norm() > 0.01


def test_contexts_of_other_lengths_are_each_read_alone():
    model, contexts = random_model(TINY_LLAMA), ("It rains.", "No.")
    prompts = editing._prepared(Letters(), "Anna is", " xy", Site(0, "ffn", "subject"), "Anna", contexts)
    expected = [log_probability(model, context, "Anna is", " xy") for context in ("", "It rains. ", "No. ")]
    with torch.no_grad():
        assert prompts.log_probability(model).tolist() == pytest.approx(expected, abs=1e-4)
    assert prompts.places.tolist() == [4, 14, 8]  # the last letter of Anna, after the start token


def test_an_article_goes_to_the_prompt():
    item = world.Item("x", "Anna works as", " an actor.")
    assert editing.without_article(item) == replace(item, prompt="Anna works as an", answer=" actor.")
    assert editing.without_article(replace(item, answer=" a cook.")).answer == " cook."
    for answer in (" Ankara.", " Asia.", "a b"):
        assert editing.without_article(replace(item, answer=answer)) == replace(item, answer=answer)


def test_a_penalty_keeps_the_change_small_and_enough_ends_it():
    model, site = random_model(TINY_LLAMA), Site(1)

    def size(**options):
        return editing.edit_fact(model, Letters(), "Anna is", "x", site, None, **options).change().norm().item()

    assert size(decay=10.0) < 0.5 * size(decay=0)
    assert size(enough=1e-6) == 0


def test_several_edits_add_up_and_come_back_after_an_error():
    model = random_model(TINY_LLAMA)
    n_out, n_in = model.blocks[0].ffn.down.weight.shape
    edits = [
        Edit("blocks.0.ffn.down.weight", drawn(n_out, seed=n).float(), drawn(n_in, seed=9 + n).float()) for n in (0, 1)
    ]
    before = model.blocks[0].ffn.down.weight.detach().clone()
    with pytest.raises(RuntimeError, match="inside"), editing.edited(model, *edits):
        torch.testing.assert_close(
            model.blocks[0].ffn.down.weight, before + edits[0].change() + edits[1].change(), atol=1e-5, rtol=1e-4
        )
        raise RuntimeError("inside")
    assert torch.equal(model.blocks[0].ffn.down.weight, before)
    with pytest.raises(ValueError, match=r"no matrix 'blocks.0.ffn.down.weight' of shape \(3, 4\)"):
        editing.edited(model, edits[0], Edit("blocks.0.ffn.down.weight", torch.ones(3), torch.ones(4))).__enter__()
    assert torch.equal(model.blocks[0].ffn.down.weight, before)


def test_bad_requests_are_named():
    model = random_model(TINY_LLAMA)
    with pytest.raises(ValueError, match="part to be one of ffn, attention, got 'mlp'"):
        Site(0, "mlp")
    with pytest.raises(ValueError, match="place to be one of last, subject, got 'first'"):
        Site(0, "ffn", "first")
    for site, text in ((Site(3), "no layer 3"), (Site(-1), "no layer -1")):
        with pytest.raises(ValueError, match=text):
            editing.edit_fact(model, Letters(), "Anna is", "x", site, None)
    with pytest.raises(ValueError, match="the subject 'Bert' in the prompt 'Anna is'"):
        editing.edit_fact(model, Letters(), "Anna is", "x", Site(0, "ffn", "subject"), None, subject="Bert")
    with pytest.raises(ValueError, match="reaches the answer; edit an earlier layer"):
        editing.edit_fact(model, Letters(), "Anna is", "x", Site(2, "ffn", "subject"), None, subject="Anna")
    with pytest.raises(ValueError, match="a prompt and an answer"):
        editing.edit_fact(model, Letters(), "Anna is", "", Site(0), None)
    with pytest.raises(ValueError, match="got MixtureOfExperts"):
        editing.keys(random_model(TINY_MIXTRAL), torch.tensor([[1]]), Site(0))


# What it did ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped():
    return llmlab.load_model()


def test_the_verdict_is_what_is_found_by_asking_one_by_one(shipped):
    model, tokenizer = shipped
    facts = [f for f in world.true_facts() if f.subject in ("France", "Italy", "Egypt")] + list(
        world.invented_facts()[:9]
    )
    fact = next(f for f in facts if (f.subject, f.relation) == ("France", "capital"))
    examined = editing.Examination(model, tokenizer, n=3, skills=["sums_1digit", "facts_true"], facts=facts)
    moment = editing.second_moment(model, editing.batches_of_texts(tokenizer, n_tokens=2000), Site(3))
    wanted = world.asked(replace(fact, answer="Rome"))[0]
    assert (wanted.prompt, wanted.answer) == ("The capital of France is", " Rome.")
    edit = editing.edit_fact(model, tokenizer, wanted.prompt, wanted.answer, Site(3), moment)
    verdict = examined.verdict(fact, "Rome", editing.edited(model, edit))

    def right(item, edits=()):
        with editing.edited(model, *edits):
            return world.answers(model, [item], tokenizer=tokenizer)[0]

    assert right(wanted, [edit])
    assert not right(wanted)
    for wordings, score in (("told", verdict.told), ("held_out", verdict.paraphrases)):
        items = world.asked(replace(fact, answer="Rome"), wordings)
        assert (score.correct, score.total) == (sum(right(item, [edit]) for item in items), len(items))
    old = world.asked(fact, "held_out")
    assert (verdict.before.correct, verdict.before.total) == (sum(map(right, old)), len(old))
    groups = {
        "same subject": [f for f in facts if f.subject == "France" and f.relation != "capital"],
        "neighbors": [f for f in facts if f.relation == "capital" and f.subject != "France"],
        "other facts": [f for f in facts if f.subject in ("Italy", "Egypt") and f.relation != "capital"],
        "other people": list(world.invented_facts()[:9]),
    }
    for name, group in groups.items():
        known = [item for f in group for item in world.asked(f)[:2] if right(item)]
        still = sum(right(item, [edit]) for item in known)
        assert (verdict.kept[name].correct, verdict.kept[name].total) == (still, len(known)), name
        assert known
    for skill, (before, after) in verdict.skills.items():
        items = world.items(skill, 3)
        assert (before.correct, after.correct) == (sum(map(right, items)), sum(right(i, [edit]) for i in items))
    assert set(verdict.skills) == {"sums_1digit", "facts_true"}


def test_an_article_is_given_where_a_verdict_asks_for_a_fact(shipped):
    model, tokenizer = shipped
    owl = next(f for f in world.true_facts() if (f.subject, f.relation) == ("owl", "young"))
    for wordings in ("told", "held_out"):
        plain, given = world.asked(owl, wordings), editing.asked(owl, wordings)
        assert [item.prompt + item.answer for item in given] == [item.prompt + item.answer for item in plain]
        assert any(item.answer.startswith((" a ", " an ")) for item in plain)
        assert not any(item.answer.startswith((" a ", " an ")) for item in given)
    verdict = editing.Examination(model, tokenizer, n=0, facts=[owl]).verdict(owl, "cub", editing.edited(model))
    new = editing.asked(replace(owl, answer="cub"), "held_out")
    right = [sum(world.answers(model, items, tokenizer=tokenizer)) for items in (new, editing.asked(owl, "held_out"))]
    assert [verdict.paraphrases.correct, verdict.before.correct] == right


def test_no_edit_changes_nothing_and_a_wild_one_much(shipped):
    model, tokenizer = shipped
    facts = list(world.true_facts()[:30])
    examined = editing.Examination(model, tokenizer, n=0, facts=facts)
    calm = examined.verdict(facts[0], "nothing", editing.edited(model))
    assert calm.skills == {}
    assert all(score.correct == score.total for score in calm.kept.values())
    n_out, n_in = model.blocks[2].ffn.down.weight.shape
    edit = Edit("blocks.2.ffn.down.weight", drawn(n_out).float(), drawn(n_in).float())
    wild = examined.verdict(facts[0], "x", editing.edited(model, edit))
    assert wild.kept["other facts"].accuracy < 0.5


def test_the_counts_of_several_verdicts_are_added_up():
    def verdict(*numbers):
        told, paraphrases, before, near = (world.Score(n, n + 2) for n in numbers)
        return editing.Verdict(told, paraphrases, before, {"neighbors": near}, {})

    both = editing.summed([verdict(1, 2, 3, 4), verdict(10, 20, 30, 40)])
    assert list(both) == ["told", "paraphrases", "before", "neighbors"]
    assert [score.correct for score in both.values()] == [11, 22, 33, 44]
    assert [score.total for score in both.values()] == [15, 26, 37, 48]
    assert editing.summed([]) == {}
