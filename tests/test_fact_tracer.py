"""The fact tracer in Python: its grid, units and counts against plain loops with hooks of torch; its thread."""

import copy
import math
import re
import threading
from dataclasses import replace

import pytest
import torch
import traitlets
from models import TINY_MIXTRAL, random_model

import llmlab
from llmlab import editing, world
from llmlab.editing import Site
from llmlab.widgets import ffn
from llmlab.widgets.ffn import EXAMPLES, KINDS, LEAST, FactTracer, site_of, without_each

MODEL, TOKENIZER = llmlab.load_model()
WEIGHTS = copy.deepcopy(MODEL.state_dict())
N_LAYERS = MODEL.config.n_layers
FRANCE = next(fact for fact in world.true_facts() if (fact.subject, fact.relation) == ("France", "capital"))


@pytest.fixture(scope="module")
def tracer():
    return FactTracer()


@pytest.fixture(autouse=True)
def the_model_is_as_it_was():
    yield
    assert all(torch.equal(weight, WEIGHTS[name]) for name, weight in MODEL.state_dict().items())


def ids_of(text):
    return torch.tensor([[TOKENIZER.special_tokens["<s>"], *TOKENIZER.encode(text)]])


def token_of(word):
    return TOKENIZER.encode(f" {word}")[0]


def p(value):
    return "<0.001" if value < 0.0005 else f"{value:.3f}"


def module_of(kind, layer):
    block = MODEL.blocks[layer]
    return {"residual": block, "attention.out": block.attention, "ffn.out": block.ffn}[kind]


@torch.no_grad()
def restored_by_hooks(clean, spoiled, noise, answer, kind, layer, token):
    """ln p of the answer after the spoiled prompt, when one output of one module is the clean run's at one token.

    `noise` (N, T, D) is added to the embedding: a run for each; the mean of the N.
    """
    kept = []
    hook = module_of(kind, layer).register_forward_hook(lambda module, given, out: kept.append(out.clone()))
    MODEL(clean)
    hook.remove()

    def put(module, given, out):
        out = out.clone()
        out[:, token] = kept[0][0, token]
        return out

    found = []
    for one in noise:
        hooks = [MODEL.embedding.register_forward_hook(lambda module, given, out, one=one: out + one)]
        hooks.append(module_of(kind, layer).register_forward_hook(put))
        found.append(MODEL(spoiled)[0, -1].log_softmax(-1)[answer].item())
        for hook in hooks:
            hook.remove()
    return sum(found) / len(found)


@torch.no_grad()
def ends(clean, spoiled, noise, answer):
    high = MODEL(clean)[0, -1].log_softmax(-1)[answer].item()
    lows = []
    for one in noise:
        hook = MODEL.embedding.register_forward_hook(lambda module, given, out, one=one: out + one)
        lows.append(MODEL(spoiled)[0, -1].log_softmax(-1)[answer].item())
        hook.remove()
    return high, sum(lows) / len(lows)


def check_grid(found, clean, spoiled, noise, answer, cells):
    high, low = ends(clean, spoiled, noise, answer)
    assert (found["high"], found["low"]) == (p(math.exp(high)), p(math.exp(low)))
    for kind, layer, token in cells:
        value = restored_by_hooks(clean, spoiled, noise, answer, kind, layer, token)
        share, chance = found["grid"][kind][layer][token]
        assert abs(share - 100 * (value - low) / (high - low)) < 0.51, (kind, layer, token)
        assert chance == p(math.exp(value)) or abs(float(chance) - math.exp(value)) < 0.00051


# The grid -----------------------------------------------------------------------------------------------------------


def test_an_exchanged_subject_restored_cell_by_cell(tracer):
    """All cells of all kinds."""
    tracer.text, tracer.corruption, tracer.other = EXAMPLES[0], "exchange", "Italy"
    found = tracer.trace
    assert found["other"] == "Italy" and found["how"] == "“Italy” in its place"
    fits = {
        f.subject for f in world.true_facts() if f.relation == "capital" and len(TOKENIZER.encode(f" {f.subject}")) == 1
    }
    assert set(found["others"]) == fits - {"France"} and len(fits) > 20
    clean, spoiled = ids_of(EXAMPLES[0]), ids_of("The capital of Italy is")
    n_tokens = clean.shape[1]
    cells = [(kind, layer, token) for kind in KINDS for layer in range(N_LAYERS) for token in range(n_tokens)]
    check_grid(tracer.trace, clean, spoiled, torch.zeros(1, 1, 1), token_of("Paris"), cells)
    assert tracer.trace["places"] == [4] and tracer.trace["tokens"][4] == " France"
    tracer.other = "grass"  # does not fit: the first that does
    assert tracer.error == "" and tracer.trace["other"] == found["others"][0]


@pytest.mark.parametrize(("corruption", "place", "at"), [("noise", -1, 4), ("control", -1, 3), ("control", 2, 2)])
def test_noise_restored_draw_by_draw(tracer, corruption, place, at):
    """Ten draws of three times the embedding's deviation, on one token; every fourth cell."""
    tracer.text, tracer.corruption, tracer.place = EXAMPLES[0], corruption, place
    found, clean = tracer.trace, ids_of(EXAMPLES[0])
    assert found["places"] == [at] and found["how"] == f"noise on “{found['tokens'][at].strip()}”"
    drawn = torch.randn(10, 1, 192, generator=torch.Generator().manual_seed(0))
    noise = torch.zeros(10, 6, 192)
    noise[:, at] = drawn[:, 0] * 3 * WEIGHTS["embedding.weight"].std()
    cells = [(kind, layer, token) for kind in KINDS for layer in range(N_LAYERS) for token in range(6)][::4]
    high, low = ends(clean, clean, noise, token_of("Paris"))
    if high - low < LEAST:
        assert found["grid"] == {}
    else:
        check_grid(found, clean, clean, noise, token_of("Paris"), cells)
    assert (high - low < LEAST) == (found["grid"] == {})


def test_the_subject_s_noise_is_told_from_the_control_s(tracer):
    """The finding that the control is for: noise on the subject costs far more than on the token before it."""
    tracer.text, tracer.corruption, tracer.place = EXAMPLES[0], "noise", -1
    lost = -math.log(max(0.0005, float(tracer.trace["low"].lstrip("<"))))
    tracer.corruption = "control"
    assert lost > 3 + -math.log(float(tracer.trace["low"].lstrip("<")))


def test_a_subject_of_several_tokens_and_an_answer_with_an_article(tracer):
    tracer.text, tracer.corruption = "Viktor Inman works as", "noise"
    found = tracer.trace
    assert found["tokens"] == ["<s>", "Viktor", " Inman", " works", " as", " a"] and found["last"] == 4
    assert (found["subject"], found["places"], found["answer"]) == ([1, 3], [1, 2], "writer")
    assert found["fact"] == ["Viktor Inman", "trade", "writer"]
    chance = MODEL(ids_of("Viktor Inman works as a"))[0, -1].softmax(-1)[token_of("writer")].item()
    assert found["high"] == p(chance)
    assert "writer" not in found["answers"]
    assert set(found["answers"]) == {f.answer for f in world.invented_facts() if f.relation == "trade"} - {"writer"}


def test_a_prompt_in_no_wording_of_the_world_is_traced_to_the_model_s_own_answer(tracer):
    tracer.text, tracer.corruption = "My dog is", "noise"
    found = tracer.trace
    assert found["fact"] == [] and found["answers"] == [] and found["tokens"][found["subject"][0]] == " dog"
    best = int(MODEL(ids_of("My dog is"))[0, -1].argmax())
    assert found["answer"] == found["first"] == TOKENIZER.decode([best]).strip()
    assert "own wordings" in site_of(found, "residual", 1, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a prompt that ends before the answer"),
        ("The capital of Atlantis is", "the model has read no text with “Atlantis”; capitals count"),
        ("the Capital of france is", "“france”"),
        ("It was very", "the prompt names no subject of the world"),
        ("The capital of France is " * 5, "the prompt has 26 tokens, <s> included; expected at most 20"),
        ("\ud800", "lone surrogates"),
    ],
)
def test_a_bad_prompt_is_refused_in_words_and_the_picture_stays(tracer, text, message):
    tracer.text, tracer.corruption = EXAMPLES[0], "noise"
    before = tracer.trace
    tracer.text = text
    assert message in tracer.error and "\n" not in tracer.error and tracer.trace == before and tracer.progress == ""
    tracer.corruption, tracer.layer = "exchange", 4  # of the prompt that is shown; what is wrong stays said
    assert message in tracer.error and (tracer.trace["text"], tracer.trace["corruption"]) == (EXAMPLES[0], "exchange")
    assert tracer.unit_list["layer"] == 4
    with pytest.raises(ValueError, match=re.escape(message)):
        FactTracer(text=text)
    tracer.text = EXAMPLES[0]
    assert tracer.error == ""


def test_bad_models_and_cells_are_refused():
    with pytest.raises(ValueError, match="mixture of experts"):
        FactTracer(random_model(TINY_MIXTRAL), TOKENIZER)
    training = copy.deepcopy(MODEL).train()
    with pytest.raises(ValueError, match=r"call model.eval\(\)"):
        FactTracer(training, TOKENIZER)
    widget = FactTracer(layer=3, token=2)
    assert (widget.layer, widget.token) == (3, 2)
    for name, value, most in (("layer", 6, 5), ("token", 6, 5)):
        with pytest.raises(traitlets.TraitError, match=f"expected a {name} from 0 to {most}, got {value}"):
            setattr(widget, name, value)


def test_the_first_cell_is_where_the_stream_first_brings_back_half():
    widget = FactTracer()
    column = [row[5][0] for row in widget.trace["grid"]["residual"]]
    assert widget.token == 5 and column[widget.layer] >= 50 > max(column[: widget.layer])


# Units --------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def without_unit(text, answer, layer, token, index):
    """ln p of the answer when what the projection reads has a 0 at one token and index."""

    def off(module, given):
        hidden = given[0].clone()
        hidden[0, token, index] = 0
        return (hidden,)

    hook = MODEL.blocks[layer].ffn.down.register_forward_pre_hook(off)
    found = MODEL(ids_of(text))[0, -1].log_softmax(-1)[answer].item()
    hook.remove()
    return found


@torch.no_grad()
def hidden_of(ids, layer):
    seen = []
    hook = MODEL.blocks[layer].ffn.down.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    MODEL(ids)
    hook.remove()
    return seen[0][0]  # (T, d_ff)


@pytest.mark.parametrize(("layer", "token"), [(1, 5), (0, 4)])
def test_the_listed_units_are_those_that_count_most(tracer, layer, token):
    tracer.text, tracer.corruption = EXAMPLES[0], "noise"
    tracer.layer, tracer.token = layer, token
    listed, answer = tracer.unit_list, token_of("Paris")
    assert (listed["text"], listed["layer"], listed["token"], listed["of"]) == (EXAMPLES[0], layer, token, 512)
    high, lost, values = without_each(MODEL, ids_of(EXAMPLES[0])[0], answer, layer, token)
    for index in range(0, 512, 16):
        assert high - lost[index] == pytest.approx(without_unit(EXAMPLES[0], answer, layer, token, index), abs=1e-4)
    order = lost.argsort(descending=True)[:6].tolist()
    assert [one["name"] for one in listed["units"]] == [f"{layer + 1}.{index + 1}" for index in order]
    hidden = hidden_of(ids_of(EXAMPLES[0]), layer)
    torch.testing.assert_close(values, hidden[token])
    for one, index in zip(listed["units"], order, strict=True):
        chance = math.exp(without_unit(EXAMPLES[0], answer, layer, token, index))
        assert abs(float(one["without"]) - chance) < 0.00051
        assert abs(float(one["activation"].replace("−", "-")) - hidden[token, index]) < 0.0051
        column = MODEL.norm.weight * WEIGHTS[f"blocks.{layer}.ffn.down.weight"][:, index]
        pushed = (WEIGHTS["embedding.weight"] @ column) * (1 if hidden[token, index] >= 0 else -1)
        assert one["pushes"][0] in (TOKENIZER.decode([int(pushed.argmax())]), "<s>")


def test_the_texts_of_a_unit_are_those_that_excite_it_most_to_the_side_of_the_cell(tracer):
    tracer.text, tracer.corruption = EXAMPLES[0], "noise"
    tracer.layer, tracer.token = 1, 5
    lines = ffn._lines()
    assert len(set(lines)) == len(lines) == 400
    every = [hidden_of(ids_of(line), 1) for line in lines]
    for one in tracer.unit_list["units"][:3]:
        index = int(one["name"].split(".")[1]) - 1
        side = -1 if one["activation"].startswith("−") else 1
        most = sorted((float((side * each[:, index]).max()) for each in every), reverse=True)[:4]
        said = [float(text[3].replace("−", "-")) * side for text in one["texts"]]
        assert said == pytest.approx(most, abs=0.0051)
        for before, token, after, _ in one["texts"]:
            shown = (before + token + after).strip("…")
            assert any(shown in line or "<s>" in token for line in lines)


# Edits --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def edited(tracer):
    tracer.text, tracer.corruption, tracer.kind = EXAMPLES[0], "noise", "residual"
    tracer.layer, tracer.token = 2, 5
    said = []
    tracer.observe(lambda change: said.append(change["new"]), "progress")
    found = tracer.edit("Rome")
    return found, said


def rows_of(found):
    return {name: (before, after) for name, before, after in found["rows"]}


def count(items, *edits):
    with editing.edited(MODEL, *edits):
        return [sum(world.answers(MODEL, [item], tokenizer=TOKENIZER)[0] for item in items), len(items)]


def test_an_edit_s_counts_are_those_of_asking_one_by_one(tracer, edited):
    found, _ = edited
    moment = editing.second_moment(MODEL, editing.batches_of_texts(TOKENIZER, n_tokens=ffn.N_MOMENT), Site(2))
    edit = editing.edit_fact(MODEL, TOKENIZER, EXAMPLES[0], " Rome.", Site(2), moment)
    rows, wanted = rows_of(found), replace(FRANCE, answer="Rome")
    for name, fact, wordings in (
        ("says “Rome”, told wordings", wanted, "told"),
        ("says “Rome”, paraphrases", wanted, "held_out"),
        ("says “Paris”, paraphrases", FRANCE, "held_out"),
    ):
        items = editing.asked(fact, wordings)
        assert rows[name] == (count(items), count(items, edit)), name
    assert rows["says “Rome”, told wordings"][0][0] == 0 < rows["says “Rome”, told wordings"][1][0]
    facts = world.true_facts()
    groups = {
        "same subject, other facts": [f for f in facts if f.subject == "France" and f.relation != "capital"],
        "neighbors: same question, other subjects": [
            f for f in facts if f.relation == "capital" and f.subject != "France"
        ],
        "other true facts": [f for f in facts if f.relation != "capital" and f.subject != "France"],
    }
    for name, group in groups.items():
        known = [item for f in group for item in world.asked(f)[:1] if count([item])[0]]
        assert rows[name] == ([len(known)] * 2, count(known, edit)), name
    parts = [*groups, "other facts of people"]
    for side in (0, 1):
        assert rows["all of these facts"][side] == [sum(rows[name][side][n] for name in parts) for n in (0, 1)]
        skills = [skill[side + 1] for skill in found["skills"]]
        assert rows["all skills"][side] == [sum(skill[n] for skill in skills) for n in (0, 1)]
    assert {name for name, *_ in found["skills"]} == set(world.EVALUATIONS)
    for name, before, after in found["skills"][:6]:
        items = world.items(name, ffn.N_ITEMS)
        assert (before, after) == (count(items), count(items, edit)), name
    assert found["caption"] == f"“{EXAMPLES[0]}” edited to “Rome”: layer 3, feed-forward, the prompt's last token"
    size = edit.change().norm() / WEIGHTS["blocks.2.ffn.down.weight"].norm()
    assert abs(float(found["size"].rstrip(" %")) - 100 * size) < 0.06


def test_progress_is_said_and_counts(edited):
    _, said = edited
    asked = [re.fullmatch(r"asking .*: ([\d,]+) of ([\d,]+) prompts …", one) for one in said]
    numbers = [tuple(int(n.replace(",", "")) for n in one.groups()) for one in asked if one]
    assert len(numbers) >= 3 and all(0 < n <= total for n, total in numbers) and said[-1] == ""


def test_an_edit_elsewhere_or_to_nothing_is_refused_in_words(tracer, edited):
    tracer.token = 2
    with pytest.raises(ValueError, match="the subject's last token or the prompt's last one"):
        tracer.edit("Rome")
    tracer.asked += 1
    assert "choose a cell there" in tracer.error
    tracer.token = 5
    for answer, message in (
        ("Paris", "the answer is “Paris” already"),
        ("", "one to three"),
        ("a b c d", "one to three"),
    ):
        with pytest.raises(ValueError, match=message):
            tracer.edit(answer)
    tracer.kind, tracer.layer, tracer.token = "ffn.out", 5, 4
    tracer.new_answer = "Rome"
    tracer.asked += 1
    assert "nothing that blocks.5.ffn.out adds at these tokens reaches the answer" in tracer.error
    assert tracer.verdict == edited[0]
    assert site_of(tracer.trace, "attention.out", 3, 4) == Site(3, "attention", "subject")
    assert site_of(tracer.trace, "residual", 3, 5) == Site(3, "ffn", "last")


def test_a_model_that_was_changed_is_traced_anew(edited):
    moment = editing.second_moment(MODEL, editing.batches_of_texts(TOKENIZER, n_tokens=ffn.N_MOMENT), Site(2))
    edit = editing.edit_fact(MODEL, TOKENIZER, EXAMPLES[0], " Rome.", Site(2), moment)
    with editing.edited(MODEL, edit):
        widget = FactTracer(MODEL, TOKENIZER)
    assert (widget.trace["answer"], widget.trace["first"]) == ("Paris", "Rome")
    assert FactTracer(MODEL, TOKENIZER).trace["first"] == "Paris"


# The thread ---------------------------------------------------------------------------------------------------------


def test_what_the_browser_asks_is_done_in_a_thread_and_other_messages_are_heard(monkeypatch):
    widget, started, go_on = FactTracer(), threading.Event(), threading.Event()
    own, threads = ffn._Bench.trace, []

    def slow(bench, *what):
        threads.append(threading.current_thread())
        started.set()
        assert go_on.wait(60)
        return own(bench, *what)

    monkeypatch.setattr(ffn._Bench, "trace", slow)
    widget.set_state({"text": EXAMPLES[1]})
    assert started.wait(60) and widget.busy and widget.progress == "tracing …" and widget.trace["text"] == EXAMPLES[0]
    widget.set_state({"kind": "ffn.out"})  # heard at once
    assert widget.kind == "ffn.out" and widget.busy
    widget.set_state({"text": EXAMPLES[2]})
    widget.set_state({"text": EXAMPLES[3]})  # the newest alone is done
    go_on.set()
    widget.wait()
    assert widget.trace["text"] == EXAMPLES[3] and not widget.busy and widget.error == "" and widget.progress == ""
    assert len(threads) == 2 and threading.current_thread() not in threads
    assert widget.unit_list["text"] == EXAMPLES[3] and widget.token == len(widget.trace["tokens"]) - 1
    widget.set_state({"text": "The capital of Atlantis is"})
    widget.wait()
    assert "“Atlantis”" in widget.error and widget.trace["text"] == EXAMPLES[3]
    monkeypatch.undo()
    widget.text = EXAMPLES[0]  # from Python it is done when the line is
    assert widget.trace["text"] == EXAMPLES[0] and widget.error == ""


# As text, recorded --------------------------------------------------------------------------------------------------


def test_the_tables_say_what_is_shown(edited, tracer):
    tracer.text, tracer.corruption, tracer.kind = EXAMPLES[0], "noise", "ffn.out"
    tracer.layer, tracer.token = 1, 5
    grid, listed, counts = tracer.tables()
    assert grid.columns == ["token", *(f"layer {n}" for n in range(1, 7))]
    assert grid.rows[4][0] == "4 ·France" and len(grid.rows) == 6
    shown = [[int(cell.replace("−", "-")) for cell in row[1:]] for row in grid.rows]
    assert shown == [[tracer.trace["grid"]["ffn.out"][layer][at][0] for layer in range(6)] for at in range(6)]
    assert [row[0] for row in listed.rows] == [one["name"] for one in tracer.unit_list["units"]]
    assert counts.rows[0][0] == "says “Rome”, told wordings" and counts.rows[0][1] == "0 of 6"
    assert repr(tracer).startswith(
        "FactTracer('The capital of France is' → 'Paris' 0.891, <0.001 with noise on “France”"
    )
    assert "1,13" in next(row[1] for row in counts.rows if row[0] == "all of these facts")


def test_a_page_holds_examples_units_and_edits_and_is_small(edited, tracer, tmp_path):
    tracer.text, tracer.corruption = EXAMPLES[0], "exchange"
    path = tracer.save_html(tmp_path / "fact.html")
    assert path.stat().st_size < 1_000_000
    traces, lists, edits = (tracer.recorded[name] for name in ("traces", "units", "edits"))
    assert set(traces) == {
        *(f"{EXAMPLES[0]}|{how}" for how in ffn.CORRUPTIONS), *(f"{text}|noise" for text in EXAMPLES[1:]),
    }  # fmt: skip
    assert traces[f"{EXAMPLES[0]}|exchange"] == tracer.trace
    assert {f"{EXAMPLES[0]}|{layer}|5" for layer in range(6)} <= set(lists)
    assert edits == [edited[0]]


def test_an_answer_is_named_with_the_article_that_its_prompts_are_given():
    owl = next(fact for fact in world.true_facts() if (fact.subject, fact.relation) == ("owl", "young"))
    assert (
        ffn._says(owl) == "says “owlet” after “an”" and ffn._says(replace(owl, answer="cub")) == "says “cub” after “a”"
    )
    assert all(item.prompt.endswith(" an") for item in editing.asked(owl, "held_out"))
    assert ffn._says(FRANCE) == "says “Paris”"
