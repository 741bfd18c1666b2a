"""`FactTracer`: where a model keeps a fact. Restore one activation at a time, look at single units, edit the fact.

The grid is causal tracing (Meng et al. 2022, section 2.1; `llmlab.patching`): the subject of a prompt is spoiled, by
noise or by another subject in its place, and each activation in turn is taken from the run that was not. A unit's part
is what the answer's log-probability loses when this unit alone is set to 0 at the chosen token; its texts and what it
pushes are those of `llmlab.units` (Geva et al. 2021, 2022). The edit is that of `llmlab.editing`, and is judged by
asking everything else before and after.

All of this is computed on a copy of the model, in a thread of its own where the browser asks: the kernel stays free,
and the reader's model is never changed.
"""

from __future__ import annotations

import contextvars
import copy
import math
import re
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import islice
from typing import Any

import torch
import traitlets
from torch import Tensor

from .. import data_path, editing, load_model, patching, trace, units, world
from ..plots import token_label, visible
from ..tokenization import BPETokenizer, check_text
from ..transformer import Transformer
from ..world import Fact, Item
from ..world.seen import Stream, words_of
from .base import LabWidget, Table

TEXT = "The capital of France is"
EXAMPLES = (TEXT, "The color of grass is", "A young duck is called", "The home of Viktor Inman is in")
KINDS = {"residual": "the stream", "attention.out": "attention's output", "ffn.out": "the feed-forward output"}
CORRUPTIONS = ("noise", "exchange", "control")
LONGEST = 20  # tokens of a prompt, <s> included
MOST_OTHERS = 40  # subjects to exchange with
LEAST = 0.1  # nats: what the spoiled run must lose at least
SHOWN_UNITS, SHOWN_TEXTS, SHOWN_TOKENS = 6, 4, 6
N_TEXTS = 400  # lines of the world, to find what excites a unit
N_ITEMS = 20  # of each skill that is asked before and after an edit
N_MOMENT = 6_000  # tokens of texts whose keys an edit holds
GROUPS = {
    "same subject": "same subject, other facts",
    "neighbors": "neighbors: same question, other subjects",
    "other facts": "other true facts",
    "other people": "other facts of people",
}


class FactTracer(LabWidget):
    """A fact, traced through layers and tokens; the units of the chosen cell; the fact edited, and everything asked.

    `model` and `tokenizer` are the course's, if not given. Read and set from Python:
    - `text`, a prompt that names a subject of the world and ends before the answer, at most 19 tokens;
    - `corruption`: "noise" on the subject, "exchange" for another subject (`other`; the first that fits, where this one
      does not), or the "control", noise on the token at `place` (−1: the one before the subject, or else after it);
    - `kind`: what is restored, "residual", "attention.out" or "ffn.out"; `layer` and `token`, the chosen cell, and
      `unit`, which of the listed units is looked at: all count from 0, on the page layers and units from 1.
    `edit("Rome")` edits the fact at the chosen cell and asks everything before and after; the model itself stays as it
    is. Only to be read: `trace`, `unit_list` and `verdict`, what the page shows. `save_html` records the examples, and
    two edits where none was made, one at the chosen cell and one a layer later.

    Raises ValueError for a model in training mode or with a mixture of experts, and for a prompt that is empty, too
    long, without a subject, or with a word that stands in no text of the world. What is wrong with a later one is said
    in `error` and on the page; the picture stays. TraitError for a cell that is not there.
    """

    js = "ffn.js"
    text = traitlets.Unicode(TEXT, help="the prompt").tag(sync=True)
    corruption = traitlets.Enum(CORRUPTIONS, "noise", help="what spoils the second run").tag(sync=True)
    other = traitlets.Unicode("", help="the subject that takes the place of the prompt's").tag(sync=True)
    place = traitlets.Int(-1, min=-1, help="the token that the control's noise falls on").tag(sync=True)
    kind = traitlets.Enum(tuple(KINDS), "residual", help="what is restored").tag(sync=True)
    layer = traitlets.Int(0, min=0, help="the layer of the chosen cell").tag(sync=True)
    token = traitlets.Int(0, min=0, help="its token").tag(sync=True)
    unit = traitlets.Int(0, min=0, max=SHOWN_UNITS - 1, help="which of the listed units is looked at").tag(sync=True)
    new_answer = traitlets.Unicode("", help="what an edit shall have the model say").tag(sync=True)
    asked = traitlets.Int(0, help="counts the edits that the browser asks for").tag(sync=True)

    examples = traitlets.List(traitlets.Unicode(), list(EXAMPLES), help="prompts to choose from").tag(sync=True)
    progress = traitlets.Unicode("", help="what is being computed, in words; empty: nothing").tag(sync=True)
    trace = traitlets.Dict(help="the grid, and what stands around it").tag(sync=True)
    unit_list = traitlets.Dict(help="the units of the chosen cell").tag(sync=True)
    verdict = traitlets.Dict(help="what the last edit did").tag(sync=True)
    recorded = traitlets.Dict(help="traces, units and edits for a page without a kernel").tag(sync=True)

    _asking = 0  # the thread that hands over what the browser asks for
    _changing = 0  # the thread that chooses a cell itself

    def __init__(
        self,
        model: Transformer | None = None,
        tokenizer: BPETokenizer | None = None,
        text: str = TEXT,
        *,
        layer: int | None = None,
        token: int | None = None,
        **traits: Any,
    ):
        if model is None or tokenizer is None:
            shipped = load_model()
            model, tokenizer = model or shipped[0], tokenizer or shipped[1]
        self._model, self._tokenizer = model, tokenizer
        self._pending: list[str] = []
        self._pending_lock, self._work_lock = threading.Lock(), threading.RLock()
        self._worker: threading.Thread | None = None
        self._said = 0.0
        self._edits: list[dict[str, Any]] = []
        super().__init__(text=text, **traits)
        self._trace()
        if layer is not None:
            self.layer = layer
        if token is not None:
            self.token = token
        self._units()
        self.progress = ""
        self.observe(lambda change: self._ask("trace"), "text")
        self.observe(lambda change: self._ask("spoil"), ["corruption", "other", "place"])
        self.observe(lambda change: self._ask("cell"), ["layer", "token"])
        self.observe(lambda change: self._ask("edit"), "asked")

    @traitlets.validate("layer", "token")
    def _in_range(self, proposal: Any) -> int:
        name, value = proposal["trait"].name, proposal["value"]
        count = len(self.trace.get("tokens", ())) if name == "token" else self._model.config.n_layers
        if count and value >= count:
            raise traitlets.TraitError(f"expected a {name} from 0 to {count - 1}, got {value}")
        return value

    def __repr__(self) -> str:
        found = self.trace
        return (
            f"FactTracer({found['text']!r} → {found['answer']!r} {found['high']}, {found['low']} with "
            f"{found['how']}; layer {self.layer + 1}, token {self.token})"
        )

    # Work, in the reader's cell or in a thread ----------------------------------------------------------------------

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """What the browser asks for is computed in a thread: the kernel hears other messages meanwhile."""
        self._asking = threading.get_ident()
        try:
            super().set_state(sync_data)
        finally:
            self._asking = 0

    def _ask(self, work: str) -> None:
        if self._changing == threading.get_ident():
            return
        with self._pending_lock:
            if work not in self._pending:
                self._pending.append(work)
            in_thread = self._asking == threading.get_ident()
            if in_thread and self._worker is None:
                context = contextvars.copy_context()  # the kernel knows by it whom to answer
                self._worker = threading.Thread(target=context.run, args=(self._in_thread,), daemon=True)
                self._worker.start()
        if not in_thread:
            self._until_done()

    def _in_thread(self) -> None:
        while True:
            self._until_done()
            with self._pending_lock:
                if not self._pending:
                    self._worker = None
                    return

    def _until_done(self) -> None:
        """Do what is pending, the newest traits alone: what was asked twice is done once."""
        with self._work_lock:
            while True:
                with self._pending_lock:
                    order = [work for work in ("trace", "spoil", "cell", "edit") if work in self._pending]
                    if not order:
                        return
                    self._pending.remove(order[0])
                self._attempt(getattr(self, f"_{order[0]}"))
                self.progress = ""

    def wait(self) -> None:
        """Return when all that the browser asked for is done."""
        while (worker := self._worker) is not None:
            worker.join()

    def _say(self, what: str, *, at_once: bool = True) -> None:
        if at_once or time.monotonic() - self._said > 0.2:
            self.progress, self._said = what, time.monotonic()

    def _bench(self) -> _Bench:
        return _bench_of(self._model, self._tokenizer)

    def _trace(self) -> None:
        """Trace the prompt; nothing changes when it is refused."""
        self._show(self.text)

    def _spoil(self) -> None:
        """Trace the prompt that is shown, spoiled otherwise; what is wrong with the typed one stays said."""
        self._show(self.trace["text"])
        self._bench().prompt(self.text)

    def _cell(self) -> None:
        """Read the units of the chosen cell; what is wrong with the typed prompt stays said."""
        self._units()
        self._bench().prompt(self.text)

    def _show(self, text: str) -> None:
        self._say("tracing …")
        found = self._bench().trace(text, self.corruption, self.other, self.place)
        same = found["text"] == self.trace.get("text")
        self._changing = threading.get_ident()
        try:
            with self.hold_sync():
                if not same:
                    self.token = self.unit = 0  # always there
                self.trace = found
                if not same:
                    self.layer, self.token = _telling(found)
                    self.new_answer = found["answers"][0] if found["answers"] else ""
        finally:
            self._changing = 0
        self._units()

    def _units(self) -> None:
        self._say("reading what excites the units …")
        token = min(self.token, len(self.trace["tokens"]) - 1)
        self.unit_list = self._bench().units(self.trace["text"], self.layer, token)

    def _edit(self) -> None:
        found, site = self.trace, site_of(self.trace, self.kind, self.layer, self.token)
        if isinstance(site, str):
            raise ValueError(site)
        done = self._bench().edit(found["text"], self.new_answer, site, self._say)
        self._edits = [one for one in self._edits if one["key"] != done["key"]] + [done]
        self.verdict = done

    def edit(self, answer: str) -> dict[str, Any]:
        """Edit the fact at the chosen cell so that the model says `answer`; returns `verdict`.

        Raises ValueError where the cell is no place for an edit, and for an answer that is empty or the old one.
        """
        with self._work_lock:
            self.new_answer = answer
            self._edit()
            self.progress = ""
        return self.verdict

    # Recordings -----------------------------------------------------------------------------------------------------

    def record(self) -> None:
        """Compute what a page without a kernel can show: the examples, this one spoiled in all ways, units, edits."""
        bench, site = self._bench(), site_of(self.trace, self.kind, self.layer, self.token)
        traces, lists = {}, {}
        for text in dict.fromkeys([self.trace["text"], *self.examples]):
            chosen = text == self.trace["text"]
            for corruption in CORRUPTIONS if chosen else CORRUPTIONS[:1]:
                try:
                    found = bench.trace(text, corruption, "", -1)
                except ValueError:  # as where no other subject fits
                    continue
                traces["|".join([text, corruption])] = found
            layer, token = _telling(bench.trace(text, "noise", "", -1))
            cells = [(at, len(found["tokens"]) - 1) for at in range(bench.n_layers)] if chosen else [(layer, token)]
            for at in cells:
                lists["|".join([text, *map(str, at)])] = bench.units(text, *at)
        traces["|".join([self.trace["text"], self.corruption])] = self.trace
        lists["|".join([self.trace["text"], str(self.layer), str(self.token)])] = self.unit_list
        if not self._edits and not isinstance(site, str):
            later = replace(site, layer=min(site.layer + 1, bench.n_layers - 1))
            for answer, at in zip(self.trace["answers"], (site, later), strict=False):
                self._edits.append(bench.edit(self.trace["text"], answer, at, self._say))
            self.progress = ""
        self.recorded = {"traces": traces, "units": lists, "edits": self._edits[-3:]}

    def save_html(self, path: Any, *, title: str | None = None) -> Any:
        """As of every widget; what the page can show without a kernel is computed first, in some seconds."""
        self.record()
        return super().save_html(path, title=title)

    # As text --------------------------------------------------------------------------------------------------------

    def tables(self) -> list[Table]:
        """The grid of the chosen kind, the units of the chosen cell, and what the last edit did."""
        found = self.trace
        n_layers = self._model.config.n_layers
        cells = found["grid"].get(self.kind)
        rows = [
            [f"{at} {visible(name)}", *(_percent(cells[layer][at][0]) if cells else "" for layer in range(n_layers))]
            for at, name in enumerate(found["tokens"])
        ]
        caption = (
            f"What restoring {KINDS[self.kind]} brings back, in %: “{found['text']}” → “{found['answer']}” "
            f"{found['high']}, {found['low']} with {found['how']}"
        )
        tables = [Table(caption, ["token", *(f"layer {layer + 1}" for layer in range(n_layers))], rows)]
        listed = self.unit_list
        if listed.get("text") == found["text"] and (listed["layer"], listed["token"]) == (self.layer, self.token):
            rows = [
                [one["name"], one["activation"], one["without"], " ".join(map(visible, one["pushes"])), _marked(one)]
                for one in listed["units"]
            ]
            caption = (
                f"Units of layer {self.layer + 1} at “{visible(found['tokens'][self.token])}”: with all {listed['p']}"
            )
            columns = ["unit", "activation", "p without it", "pushes", "the text that excites it most"]
            tables.append(Table(caption, columns, rows))
        if self.verdict and self.verdict["text"] == found["text"]:
            rows = [[name, _of(before), _of(after)] for name, before, after in self.verdict["rows"]]
            rows += [[f"skill {name}", _of(before), _of(after)] for name, before, after in self.verdict["skills"]]
            tables.append(Table(self.verdict["caption"], ["asked", "before", "after"], rows))
        return tables


def _percent(share: int) -> str:
    return str(share).replace("-", "−")


def _of(count: Sequence[int]) -> str:
    return f"{count[0]:,} of {count[1]:,}"


def _marked(unit: dict[str, Any]) -> str:
    if not unit["texts"]:
        return ""
    before, token, after, _ = unit["texts"][0]
    return f"{before}[{token}]{after}".replace("\n", "⏎")


def _p(value: float) -> str:
    return "<0.001" if value < 0.0005 else f"{value:.3f}"


def _signed(value: float, places: int = 2) -> str:
    return f"{value:+.{places}f}".replace("-", "−")


def _telling(found: dict[str, Any]) -> tuple[int, int]:
    """The earliest layer whose stream brings back half at the last token, or the last layer; and that token."""
    last = len(found["tokens"]) - 1
    column = [row[last][0] for row in found["grid"].get("residual", [])]
    return next((layer for layer, share in enumerate(column) if share >= 50), max(0, len(column) - 1)), last


def site_of(found: dict[str, Any], kind: str, layer: int, token: int) -> editing.Site | str:
    """The matrix that an edit changes at a cell of a trace, or why there is none, in words."""
    if not found["fact"]:
        return "only a prompt in one of the world's own wordings can be edited: its paraphrases are known"
    part = "attention" if kind == "attention.out" else "ffn"
    if token >= found["last"]:
        return editing.Site(layer, part, "last")
    if token == found["subject"][1] - 1:
        return editing.Site(layer, part, "subject")
    return "an edit needs the subject's last token or the prompt's last one: choose a cell there"


# What is known of the world -----------------------------------------------------------------------------------------


@cache
def _facts() -> tuple[Fact, ...]:
    return world.true_facts() + world.invented_facts()


@cache
def _wordings() -> dict[str, tuple[Fact, str, int]]:
    """Each prompt of the world that asks for one fact: the fact, the wordings and the number among them."""
    found: dict[str, tuple[Fact, str, int]] = {}
    for fact in _facts():
        for wordings in ("told", "held_out"):
            for number, item in enumerate(world.asked(fact, wordings)):
                found.setdefault(item.prompt, (fact, wordings, number))
    return found


@cache
def _words_read() -> frozenset[str]:
    """Every word that stands in a text of the model's training."""
    return frozenset().union(*(group.words for group in Stream.load(data_path("stream.npz")).groups.values()))


@cache
def _subjects() -> tuple[str, ...]:
    return tuple(sorted({fact.subject for fact in _facts()}, key=lambda name: (-len(name), name)))


def _subject_in(text: str) -> tuple[int, int] | None:
    """Where the longest subject of the world stands in a text, the last one if several: begin and end."""
    for name in _subjects():
        if found := list(re.finditer(rf"\b{re.escape(name)}\b", text, re.IGNORECASE)):
            return found[-1].span()
    return None


@cache
def _lines() -> tuple[str, ...]:
    """Short lines of the world's texts, all different."""
    texts = (line for document in world.documents(7, reading=2) for line in document.text.split("\n"))
    return tuple(islice(dict.fromkeys(line for line in islice(texts, 4 * N_TEXTS) if 12 <= len(line) <= 90), N_TEXTS))


# What is computed of a model ----------------------------------------------------------------------------------------

_benches: dict[tuple[int, str], _Bench] = {}
_benches_lock = threading.Lock()


def _bench_of(model: Transformer, tokenizer: BPETokenizer) -> _Bench:
    """What has been computed of a model with these very weights: another change of them, and it begins anew."""
    if model.training:
        raise ValueError("the model is in training mode, where dropout is on; call model.eval() first")
    check = 0
    for weight in model.parameters():
        check = zlib.crc32(weight.detach().cpu().contiguous().view(torch.uint8).numpy(), check)
    key = (check, repr(model.config))
    with _benches_lock:
        if key not in _benches:
            while len(_benches) > 1:
                _benches.pop(next(iter(_benches)))
            _benches[key] = _Bench(model, tokenizer)
        return _benches[key]


class _Bench:
    """A copy of a model, and what was computed of it."""

    def __init__(self, model: Transformer, tokenizer: BPETokenizer):
        if model.config.n_experts:
            raise ValueError("expected a model with plain or gated feed-forward layers, got a mixture of experts")
        self.model = copy.deepcopy(model).cpu().float().requires_grad_(False)
        self.tokenizer, self.n_layers = tokenizer, model.config.n_layers
        self.found: dict[tuple[Any, ...], Any] = {}

    def once(self, work: Callable[[], Any], *key: Any) -> Any:
        if key not in self.found:
            self.found[key] = work()
        return self.found[key]

    # The prompt ---

    def prompt(self, text: str) -> dict[str, Any]:
        """A prompt, read: its ids, its fact if it is one of the world's wordings, its subject, and the answer's token.

        Where the answer begins with an article, the article is read as part of the prompt: what is asked for is the
        word that tells.
        """
        check_text(text)
        text = " ".join(text.split())
        if not text:
            raise ValueError("expected a prompt that ends before the answer, such as “The capital of France is”")
        if unknown := sorted(set(words_of(text)) - _words_read(), key=text.index):
            names = " or ".join(f"“{word}”" for word in unknown)
            raise ValueError(f"the model has read no text with {names}; capitals count")
        encode, start = self.tokenizer.encode, self.tokenizer.special_tokens["<s>"]
        ids = [start, *encode(text)]
        last = len(ids) - 1
        if len(ids) > LONGEST:
            raise ValueError(f"the prompt has {len(ids)} tokens, <s> included; expected at most {LONGEST}")
        fact, wordings, number = _wordings().get(text, (None, "", 0))
        if fact:
            at = text.lower().rfind(fact.subject.lower())
            span = at, at + len(fact.subject)
        elif (span := _subject_in(text)) is None:
            raise ValueError(
                "the prompt names no subject of the world: a country, an animal, a thing, a month or a person, as in "
                f"“{EXAMPLES[0]}” or “{EXAMPLES[-1]}”"
            )
        begins, ends = (len(encode(text[:at].rstrip(" "))) + 1 for at in span)
        if fact:
            answer = world.asked(fact, wordings)[number].answer
            ids += encode(answer[: answer.index(f" {fact.answer}")])  # an article, or nothing
            target = encode(f" {fact.answer}")[0]
        else:
            target = int(_next(self.model, ids).argmax())
        return {
            "text": text, "ids": ids, "last": last, "fact": fact, "wording": (wordings, number),
            "subject": (begins, ends), "target": target, "span": span,
        }  # fmt: skip

    def _others(self, read: dict[str, Any]) -> list[str]:
        """The subjects that can stand in the prompt's place: of the same relation, with as many tokens, asking for
        another token."""
        fact, (begin, end) = read["fact"], read["span"]
        old = read["text"][begin:end]
        facts = [one for one in _facts() if fact is None or one.relation == fact.relation]
        if fact is None:
            kinds = {one.relation for one in facts if one.subject.lower() == old.lower()}
            facts = [one for one in facts if one.relation in kinds]
        found = {}
        for one in facts:
            name = one.subject[0].upper() + one.subject[1:] if old[0].isupper() else one.subject
            if fact is not None and self.tokenizer.encode(f" {one.answer}")[0] == read["target"]:
                continue
            ids = self._exchanged(read, name)
            if name != old and len(ids) == len(read["ids"]):
                found[name] = None
            if len(found) == MOST_OTHERS:
                break
        return list(found)

    def _exchanged(self, read: dict[str, Any], name: str) -> list[int]:
        (begin, end), text, tail = read["span"], read["text"], read["ids"][read["last"] + 1 :]
        start = self.tokenizer.special_tokens["<s>"]
        return [start, *self.tokenizer.encode(text[:begin] + name + text[end:]), *tail]

    # Tracing ---

    def trace(self, text: str, corruption: str, other: str, place: int) -> dict[str, Any]:
        """The grid of all kinds, and all that the page says of it."""
        read = self.once(lambda: self.prompt(text), "prompt", text)
        others = self.once(lambda: self._others(read), "others", text)
        begin, end = read["subject"]
        if corruption == "exchange" and not others:
            raise ValueError("no other subject of the same kind has as many tokens: take noise instead")
        if corruption == "exchange":
            other = other if other in others else others[0]
            places = list(range(begin, end))
        elif corruption == "control":
            if not 1 <= place < len(read["ids"]) or begin <= place < end:
                place = begin - 1 if begin > 1 else min(end, len(read["ids"]) - 1)
            places = [place]
        else:
            places = list(range(begin, end))
        key = (read["text"], corruption, other if corruption == "exchange" else "", *places)
        return self.once(lambda: self._traced(read, others, corruption, other, places), "trace", *key)

    def _traced(
        self, read: dict[str, Any], others: list[str], corruption: str, other: str, places: list[int]
    ) -> dict[str, Any]:
        ids, target, fact = torch.tensor(read["ids"]), read["target"], read["fact"]
        labels = [token_label(self.tokenizer, token) for token in read["ids"]]
        if corruption == "exchange":
            spoiled = torch.tensor(self._exchanged(read, other))
            high, low = (patching.log_probability(self.model, one[None], target).item() for one in (ids, spoiled))
            how = f"“{other}” in its place"
        else:
            high, lows = patching.spoiled(self.model, ids, places, target)
            low = lows.mean().item()
            how = f"noise on “{''.join(labels[at] for at in places).strip()}”"
        grid: dict[str, list[list[list[Any]]]] = {}
        if high - low >= LEAST:
            for kind in KINDS:
                if corruption == "exchange":
                    shares = patching.restored(self.model, ids, spoiled, target, kind)  # (L, T)
                else:
                    shares = patching.restored_from_noise(self.model, ids, places, target, kind)  # (L, T)
                grid[kind] = [
                    [[round(100 * share), _p(math.exp(low + share * (high - low)))] for share in row]
                    for row in shares.tolist()
                ]
        first = int(_next(self.model, read["ids"]).argmax())
        rivals = dict.fromkeys(one.answer for one in _facts() if fact and one.relation == fact.relation)
        return {
            "text": read["text"],
            "corruption": corruption,
            "other": other if corruption == "exchange" else "",
            "others": others,
            "places": places,
            "tokens": labels,
            "last": read["last"],
            "subject": list(read["subject"]),
            "fact": [fact.subject, fact.relation, fact.answer] if fact else [],
            "answers": [answer for answer in rivals if answer != fact.answer] if fact else [],
            "answer": token_label(self.tokenizer, target).strip(),
            "first": token_label(self.tokenizer, first).strip(),
            "high": _p(math.exp(high)),
            "low": _p(math.exp(low)),
            "how": how,
            "grid": grid,
            "layers": self.n_layers,
        }

    # Units ---

    def units(self, text: str, layer: int, token: int) -> dict[str, Any]:
        """The units of a layer that the answer loses most without, at one token."""
        return self.once(lambda: self._units(text, layer, token), "units", text, layer, token)

    def _units(self, text: str, layer: int, token: int) -> dict[str, Any]:
        read = self.once(lambda: self.prompt(text), "prompt", text)
        ids, target = torch.tensor(read["ids"]), read["target"]
        high, lost, values = without_each(self.model, ids, target, layer, token)
        reading = self.once(
            lambda: units.read(
                self.model, self.tokenizer, _lines(), [(layer, index) for index in range(len(values))]
            ),
            "reading", layer,
        )  # fmt: skip
        found = []
        for index in lost.argsort(descending=True, stable=True)[:SHOWN_UNITS].tolist():
            value = values[index].item()
            side = 1 if value >= 0 else -1
            pushed = (side * units.pushes(self.model, (layer, index))).topk(SHOWN_TOKENS).indices.tolist()
            found.append({
                "name": f"{layer + 1}.{index + 1}",
                "activation": _signed(value),
                "without": _p(math.exp(high - lost[index].item())),
                "lost": _signed(-lost[index].item(), 3),
                "pushes": [token_label(self.tokenizer, one) for one in pushed],
                "texts": [self._excerpt(reading, one) for one in reading.top(index, SHOWN_TEXTS, side=side)],
            })  # fmt: skip
        return {
            "text": read["text"], "layer": layer, "token": token, "p": _p(math.exp(high)), "of": len(values),
            "units": found,
        }  # fmt: skip

    def _excerpt(self, reading: units.Reading, one: units.Excitement) -> list[str]:
        ids, at = reading.tokens[one.text].tolist(), one.place
        begin, end = max(1, at - 7), min(len(ids), at + 4)
        before = ("…" if begin > 1 else "") + self.tokenizer.decode(ids[begin:at])
        after = self.tokenizer.decode(ids[at + 1 : end]) + ("…" if end < len(ids) else "")
        return [before if at else "", token_label(self.tokenizer, ids[at]), after, _signed(one.value)]

    # Edits ---

    def edit(self, text: str, answer: str, site: editing.Site, say: Callable[..., None]) -> dict[str, Any]:
        """Edit a fact on the copy, and ask everything before and after."""
        read = self.once(lambda: self.prompt(text), "prompt", text)
        fact, answer = read["fact"], " ".join(answer.split())
        if not re.fullmatch(r"[^\W_]+([ '-][^\W_]+){0,2}", answer):
            raise ValueError("expected a new answer of one to three words")
        if answer == fact.answer:
            raise ValueError(f"the answer is “{answer}” already: choose another one")
        return self.once(lambda: self._edited(read, answer, site, say), "edit", read["text"], answer, site)

    def _edited(
        self, read: dict[str, Any], answer: str, site: editing.Site, say: Callable[..., None]
    ) -> dict[str, Any]:
        model, tokenizer, fact, (wordings, number) = self.model, self.tokenizer, read["fact"], read["wording"]
        say("finding what the matrix reads in other texts …")
        moment = self.once(
            lambda: editing.second_moment(model, editing.batches_of_texts(tokenizer, n_tokens=N_MOMENT), site),
            "moment", site.layer, site.part,
        )  # fmt: skip
        wanted = replace(fact, answer=answer)
        item = editing.asked(wanted, wordings)[number]  # an article belongs to the prompt, as where it is traced
        say("finding the value that says the new answer …")
        edit = editing.edit_fact(model, tokenizer, item.prompt, item.answer, site, moment, subject=fact.subject)
        new, old = ({w: editing.asked(one, w) for w in ("told", "held_out")} for one in (wanted, fact))
        with _counted(model, say, "asking the model as it is", N_ITEMS * len(world.EVALUATIONS) + len(_facts())):
            examination = self.once(
                lambda: editing.Examination(model, tokenizer, n_wordings=1, n=N_ITEMS), "examination"
            )
        total = len(examination.facts) + sum(map(len, examination.items.values()))
        before = {w: self._right(new[w]) for w in new}
        with _counted(model, say, "asking the edited model", total):
            verdict = examination.verdict(fact, answer, editing.edited(model, edit))
            with editing.edited(model, edit):
                still = self._right(old["held_out"])
                changed = [math.exp(_log_probability(model, tokenizer, one)) for one in (item, self._item(read))]
        unchanged = [math.exp(_log_probability(model, tokenizer, one)) for one in (item, self._item(read))]
        kept = {name: [score.correct, score.total] for name, score in verdict.kept.items()}
        every = [sum(count[n] for count in kept.values()) for n in (0, 1)]
        skills = {name: ([b.correct, b.total], [a.correct, a.total]) for name, (b, a) in sorted(verdict.skills.items())}
        sums = [[sum(pair[n][m] for pair in skills.values()) for m in (0, 1)] for n in (0, 1)]
        rows = [
            [f"{_says(wanted)}, told wordings", [before["told"], verdict.told.total], _pair(verdict.told)],
            [f"{_says(wanted)}, paraphrases", [before["held_out"], len(new["held_out"])], _pair(verdict.paraphrases)],
            [f"{_says(fact)}, paraphrases", _pair(verdict.before), [still, verdict.before.total]],
            *([GROUPS[name], [count[1], count[1]], count] for name, count in kept.items() if count[1]),
            ["all of these facts", [every[1], every[1]], every],
            ["all skills", *sums],
        ]  # fmt: skip
        where = f"layer {site.layer + 1}, {'feed-forward' if site.part == 'ffn' else 'attention'}, "
        where += "the prompt's last token" if site.place == "last" else "the subject's last token"
        weight = dict(model.named_parameters())[site.parameter]
        return {
            "key": [read["text"], answer, site.layer, site.part, site.place],
            "text": read["text"],
            "answer": answer,
            "caption": f"“{read['text']}” edited to “{answer}”: {where}",
            "where": where,
            "p": [[_p(unchanged[0]), _p(changed[0])], [_p(unchanged[1]), _p(changed[1])]],
            "size": f"{100 * (edit.change().norm() / weight.norm()).item():.1f} %",
            "rows": rows,
            "skills": [[name, *pair] for name, pair in skills.items()],
            "known": _p(unchanged[1]),
        }

    def _item(self, read: dict[str, Any]) -> Item:
        wordings, number = read["wording"]
        return editing.asked(read["fact"], wordings)[number]

    def _right(self, items: Sequence[Item]) -> int:
        return sum(world.answers(self.model, items, tokenizer=self.tokenizer))


def _says(fact: world.Fact) -> str:
    """Such as: says “owlet” after “an”. The article that its prompts are given is that of the answer."""
    article = world.asked(fact)[0].answer.split()[0]
    return f"says “{fact.answer}”" + (f" after “{article}”" if article in ("a", "an") else "")


def _pair(score: world.Score) -> list[int]:
    return [score.correct, score.total]


class _counted:
    """Within the block, what the model is asked is counted and said."""

    def __init__(self, model: Transformer, say: Callable[..., None], what: str, total: int):
        self.model, self.say, self.what, self.total, self.n = model, say, what, total, 0

    def __enter__(self) -> None:
        self.say(f"{self.what} …")
        self.hook = self.model.register_forward_hook(self.count)

    def count(self, module: Any, given: tuple[Tensor, ...], logits: Tensor) -> None:
        self.n += len(given[0])
        self.say(f"{self.what}: {min(self.n, self.total):,} of {self.total:,} prompts …", at_once=False)

    def __exit__(self, *problem: Any) -> None:
        self.hook.remove()


@torch.no_grad()
def _next(model: Transformer, ids: Sequence[int]) -> Tensor:
    """What follows a prompt: (V,)."""
    return model(torch.tensor([list(ids)]))[0, -1]


@torch.no_grad()
def _log_probability(model: Transformer, tokenizer: BPETokenizer, item: Item) -> float:
    """Of the whole answer of an item, in nats."""
    prompt = [tokenizer.special_tokens["<s>"], *tokenizer.encode(item.prompt)]
    answer = tokenizer.encode(item.answer)
    logits = model(torch.tensor([[*prompt, *answer]]))[0, len(prompt) - 1 : -1].log_softmax(-1)  # (n, V)
    return logits.gather(-1, torch.tensor(answer)[:, None]).sum().item()


@torch.no_grad()
def without_each(
    model: Transformer, ids: Tensor, answer: int, layer: int, token: int, *, batch_size: int = 128
) -> tuple[float, Tensor, Tensor]:
    """What the answer loses without each unit of a layer, at one token of a prompt (T,).

    Returns the answer's log-probability, what it loses when one unit alone is 0 at this token (d_ff,), in nats, and
    the units' activations there (d_ff,).
    """
    name = f"blocks.{layer}.ffn.hidden"
    with trace.record(model, [name]) as seen:
        high = patching.log_probability(model, ids[None], answer).item()
    values = seen[name][0, token]  # (d_ff,)
    lost = []
    for indices in torch.arange(len(values)).split(batch_size):

        def off(hidden: Tensor, indices: Tensor = indices) -> Tensor:  # (B, T, d_ff)
            hidden = hidden.clone()
            hidden[torch.arange(len(indices)), token, indices] = 0
            return hidden

        with trace.patch(model, {name: off}):
            lost.append(high - patching.log_probability(model, ids.repeat(len(indices), 1), answer))
    return high, torch.cat(lost), values
