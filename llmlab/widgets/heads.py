"""`HeadExplorer`: every attention head of a model on a text that the reader types; heads and edges can be taken out.

Heads are told apart by where they look (Olsson et al. 2022, "In-context learning and induction heads"). A head that is
taken out reads nothing (Michel et al. 2019, "Are sixteen heads really better than one?"): what the loss then says is
how much the model needs it for this text.

An edge is one query that looks at one key in one head. To cut it forbids the look: its score becomes −∞ before the
softmax, as a mask would do (Geva et al. 2023, "Dissecting recall of factual associations", knock attention out so), and
the other keys share the whole 1. To take the weight away after the softmax would be another thing: the weights would
sum to less than 1, as they never do in training, and the answer could change for that alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
import traitlets
from torch import Tensor

from .. import heads, model_card, trace
from ..plots import token_label, visible
from ..tokenization import BPETokenizer
from ..transformer import Transformer
from .base import Array, LabWidget, Table

TEXT = "The animal didn't cross the street because it was too tired.\nQuestion: What was too tired?\nAnswer: the"
SCORES = ("induction", "previous token", "first token", "entropy")
KNOWS = "The model knows short English: stories, “… because it was too …”, lists said again, sums, plain facts."
N_CANDIDATES = 5
LONGEST = 128  # tokens, <s> included: what the picture still shows


@dataclass(frozen=True)
class Run:
    """One forward pass: weights (L, H, T, T), the loss in nats a token, the next token's probabilities (V,)."""

    weights: Tensor
    loss: float
    probabilities: Tensor


class HeadExplorer(LabWidget):
    """All heads of a model as small heat maps, one of them large, and what is lost without some heads or edges.

    Read and set from Python: `text`, `layer` and `head` (the chosen one; both count from 0, on the page from 1),
    `token` and `key` (the held query, and the key held with it; -1: none), `sort_by`, `shown` ("edges", "map" or
    "both"), `ablated` (pairs of layer and head that are taken out), `cut_edges` ([layer, head, query, key] each: in
    that head the query may not look at that key). `rows()` gives the chosen head's weights exactly; `scores` has a
    number for each head. A new text keeps the edges of the tokens that it begins with as the old one did.

    With `layer` or `head` left out, the head with the highest induction or previous-token score is chosen. Raises
    ValueError for a model in training mode, and for a text of no token or of more than 128; TraitError for a head
    that the model does not have, for a key after its query, and where a query would have no key left.
    """

    js = "heads.js"
    text = traitlets.Unicode(help="the text that the reader typed").tag(sync=True)
    layer = traitlets.Int(0, help="the layer of the head that is shown large").tag(sync=True)
    head = traitlets.Int(0, help="its number in the layer").tag(sync=True)
    token = traitlets.Int(-1, help="the query that a click holds in view; -1: none").tag(sync=True)
    sort_by = traitlets.Enum(["layer", *SCORES], "layer", help="the order of the thumbnails").tag(sync=True)
    key = traitlets.Int(-1, help="the key held with the query; -1: none").tag(sync=True)
    shown = traitlets.Enum(["edges", "map", "both"], "both", help="how the chosen head is drawn").tag(sync=True)
    ablated = traitlets.List(help="the heads taken out, as [layer, head]").tag(sync=True)

    cut_edges = traitlets.List(help="the edges cut, as [layer, head, query, key]").tag(sync=True)
    knows = traitlets.Unicode(KNOWS, help="one line: the kinds of text that the model knows").tag(sync=True)

    ids = traitlets.List(traitlets.Int(), help="token ids, <s> first").tag(sync=True)
    labels = traitlets.List(traitlets.Unicode(), help="the tokens as text").tag(sync=True)
    weights = Array(help="(L, H, T, T) uint8: 255 times the weight, rounded; queries before keys; heads taken out")
    scores = Array(help="(4, L, H) float32: in the order of `score_names`; heads taken out")
    score_names = traitlets.List(traitlets.Unicode(), list(SCORES), help="what `scores` holds").tag(sync=True)
    cut_weights = Array(help="(edges,) float32: what each cut edge weighs in the whole model")
    loss = traitlets.Float(0.0, help="mean −log p of the text's tokens, in nats; without what is out").tag(sync=True)
    loss_whole = traitlets.Float(0.0, help="the same of the whole model").tag(sync=True)
    candidates = traitlets.List(help="labels of the likeliest next tokens: [whole, now][rank]").tag(sync=True)
    probabilities = Array(help="(2, 2, 5) float32: of both lists of candidates, in the whole model and now")
    revision = traitlets.Int(0, help="counts forward passes; the picture follows it").tag(sync=True)

    def __init__(
        self,
        model: Transformer,
        tokenizer: BPETokenizer,
        text: str = TEXT,
        *,
        layer: int | None = None,
        head: int | None = None,
        sort_by: str = "layer",
        ablated: Sequence[Sequence[int]] = (),
        cut_edges: Sequence[Sequence[int]] = (),
        token: int = -1,
        key: int = -1,
        **traits: Any,
    ):
        self._model, self._tokenizer = model, tokenizer
        self._induction: dict[tuple[tuple[int, int], ...], Tensor] = {}  # (L, H), for each set of heads taken out
        super().__init__(text=text, sort_by=sort_by, ablated=ablated, **traits)
        self._read()
        for name, value in (("layer", layer), ("head", head)):
            if value is not None:
                setattr(self, name, value)
        self.layer, self.head = self._most_telling(layer, head)
        self.token, self.key = token, key
        if len(cut_edges):
            self.cut_edges = list(cut_edges)
            self._show(self.ids, self._edges)
        self.observe(lambda change: self._attempt(self._read), "text")
        self.observe(lambda change: self._attempt(self._change), ["ablated", "cut_edges"])

    @traitlets.validate("layer", "head")
    def _in_range(self, proposal: Any) -> int:
        name, value = proposal["trait"].name, proposal["value"]
        count = self._model.config.n_layers if name == "layer" else self._model.config.n_heads
        if not 0 <= value < count:
            raise traitlets.TraitError(f"expected a {name} from 0 to {count - 1}, got {value}")
        return value

    @traitlets.validate("token", "key")
    def _a_token(self, proposal: Any) -> int:
        name, value = proposal["trait"].name, proposal["value"]
        if not -1 <= value < max(1, len(self.ids)):
            raise traitlets.TraitError(f"expected a {name} from 0 to {len(self.ids) - 1}, or -1 for none; got {value}")
        return value

    @traitlets.validate("ablated")
    def _heads_of_the_model(self, proposal: Any) -> list[list[int]]:
        config, pairs = self._model.config, set()
        for pair in proposal["value"]:
            numbers = tuple(pair) if isinstance(pair, Sequence) and not isinstance(pair, str) else ()
            if len(numbers) != 2 or not all(isinstance(n, int) for n in numbers):
                raise traitlets.TraitError(f"expected pairs of a layer and a head in `ablated`, got {pair!r}")
            if not (0 <= numbers[0] < config.n_layers and 0 <= numbers[1] < config.n_heads):
                raise traitlets.TraitError(
                    f"no head {numbers}; expected a layer below {config.n_layers} and a head below {config.n_heads}"
                )
            pairs.add(numbers)
        return [list(pair) for pair in sorted(pairs)]

    @traitlets.validate("cut_edges")
    def _edges_of_the_text(self, proposal: Any) -> list[list[int]]:
        edges = set()
        for edge in proposal["value"]:
            numbers = tuple(edge) if isinstance(edge, Sequence) and not isinstance(edge, str) else ()
            if len(numbers) != 4 or not all(isinstance(n, int) and not isinstance(n, bool) for n in numbers):
                raise traitlets.TraitError(f"expected [layer, head, query, key] in `cut_edges`, got {edge!r}")
            if not 0 <= numbers[2] < len(self.ids):
                raise traitlets.TraitError(
                    f"no query {numbers[2]} in a text of {len(self.ids)} tokens; expected one from 1 to "
                    f"{len(self.ids) - 1}, since token 0 has only itself to look at"
                )
            edges.add(numbers)
        try:
            heads.edges_by_layer(self._model.config, edges)
        except ValueError as error:
            raise traitlets.TraitError(str(error)) from None
        return [list(edge) for edge in sorted(edges)]

    def __repr__(self) -> str:
        text = self._tokenizer.decode(self.ids[1:])
        short = text if len(text) <= 40 else f"{text[:39]}…"
        config = self._model.config
        without = f" without {' and '.join(self._names)}, {self.loss_whole:.3g} whole" if self._names else ""
        return (
            f"HeadExplorer({short!r}, {len(self.ids)} tokens, {config.n_layers} × {config.n_heads} heads, "
            f"head {self._name(self.layer, self.head)} chosen, loss {self.loss:.3g} nats a token{without})"
        )

    def rows(self) -> Tensor:
        """The weights of the chosen head, exactly: (T, T) float32, a row for each query, without what is out."""
        return self._shown_run.weights[self.layer, self.head]

    # Forward passes -------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Run the model on a new text; nothing changes when the text is refused."""
        ids = self._token_ids()
        self._whole = self._run(ids, (), ())
        same = next((at for at, pair in enumerate(zip(ids, self.ids, strict=False)) if len(set(pair)) > 1), len(ids))
        self._show(ids, tuple(edge for edge in self._edges if edge[2] < same))

    def _change(self) -> None:
        """Run the text that is shown once more, with other heads or edges taken out."""
        if self._ran == (self.ids, self._out, self._edges):
            return
        self._show(self.ids, self._edges)
        self._token_ids()  # what is wrong with the typed text stays said

    def _show(self, ids: list[int], edges: tuple[tuple[int, ...], ...]) -> None:
        out = self._out
        self._shown_run = self._run(ids, out, edges) if out or edges else self._whole
        self._ran = (ids, out, edges)
        if () not in self._induction:
            self._measure_induction(())
        self._publish(ids, edges)
        if out not in self._induction:  # when the picture is already on its way
            self._measure_induction(out)
            self.scores = self._scores()

    def _token_ids(self) -> list[int]:
        if self._model.training:
            raise ValueError("the model is in training mode, where dropout is on; call model.eval() first")
        ids = [self._start, *self._tokenizer.encode(self.text)]
        longest = min(LONGEST, self._model.config.max_seq_len)
        if len(ids) < 2:
            raise ValueError("expected a text of at least one token, got an empty one")
        if len(ids) > longest:
            raise ValueError(f"the text has {len(ids)} tokens, <s> included; expected at most {longest}")
        if max(ids) >= self._model.config.vocab_size:
            raise ValueError(
                f"the tokenizer gave token {max(ids)}; the model knows {self._model.config.vocab_size} tokens"
            )
        return ids

    @torch.inference_mode()
    def _run(self, ids: list[int], out: tuple[tuple[int, int], ...], edges: tuple[tuple[int, ...], ...]) -> Run:
        tokens = torch.tensor([ids], device=self._device)  # (1, T)
        names = [f"blocks.{layer}.attention.weights" for layer in range(self._model.config.n_layers)]
        without = heads.without_heads(self._model, out), heads.without_edges(self._model, edges)
        with without[0], without[1], trace.record(self._model, names) as seen:
            logits = self._model(tokens)[0].float().cpu()  # (T, V)
        weights = torch.stack([seen[name][0] for name in names]).float().cpu()  # (L, H, T, T)
        loss = F.cross_entropy(logits[:-1], torch.tensor(ids[1:]))
        return Run(weights, float(loss), logits[-1].softmax(-1))

    def _measure_induction(self, out: tuple[tuple[int, int], ...]) -> None:
        """Random words, said twice: once for each set of heads taken out, whatever the text."""
        config = self._model.config
        period = min(model_card.PERIOD, (config.max_seq_len - 1) // 2)
        tokens = model_card.words_said_twice(self._tokenizer, period=period, vocab_size=config.vocab_size)
        with heads.without_heads(self._model, out):
            weights = heads.attention_weights(self._model, tokens.to(self._device))  # (L, B, H, T, T)
        self._induction[out] = heads.induction_scores(weights[..., 1:, 1:], period).float().cpu()

    @property
    def _out(self) -> tuple[tuple[int, int], ...]:
        return tuple((layer, head) for layer, head in self.ablated)

    @property
    def _edges(self) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(edge) for edge in self.cut_edges)

    @property
    def _start(self) -> int:
        return self._tokenizer.special_tokens["<s>"]

    @property
    def _device(self) -> torch.device:
        return self._model.embedding.weight.device

    # What the browser draws -----------------------------------------------------------------------------------------

    def _publish(self, ids: list[int], edges: tuple[tuple[int, ...], ...]) -> None:
        whole, shown = self._whole.probabilities, self._shown_run.probabilities  # (V,)
        best = [p.topk(min(N_CANDIDATES, len(p))).indices for p in (whole, shown)]
        held = max(self.token, self.key) + 1
        unchanged = ids[:held] == self.ids[:held]
        with self.hold_sync():
            if not unchanged:
                self.token = self.key = -1  # what was held is no longer in the text
            self.ids, self.labels = ids, [token_label(self._tokenizer, token) for token in ids]
            self.cut_edges = [list(edge) for edge in edges]
            self.cut_weights = torch.tensor([float(self._whole.weights[edge]) for edge in edges])
            self.weights = (255 * self._shown_run.weights).round().to(torch.uint8)
            self.scores = self._scores()
            self.loss, self.loss_whole = self._shown_run.loss, self._whole.loss
            self.candidates = [[token_label(self._tokenizer, token) for token in row.tolist()] for row in best]
            self.probabilities = torch.stack([torch.stack([p[row] for p in (whole, shown)]) for row in best])
            self.revision += 1

    def _scores(self) -> Tensor:
        """(4, L, H): the induction score on repeated words, the others on the text."""
        weights = self._shown_run.weights[:, None]  # (L, 1, H, T, T)
        induction = self._induction.get(self._out, self._induction[()])
        others = (heads.previous_token_scores, heads.first_token_scores, heads.entropies)
        return torch.stack([induction, *(score(weights) for score in others)])

    def _most_telling(self, layer: int | None, head: int | None) -> tuple[int, int]:
        """The head with the highest induction or previous-token score, of those that the caller left open."""
        best = self.scores[:2].max(axis=0)  # (L, H)
        layers = range(best.shape[0]) if layer is None else [layer]
        numbers = range(best.shape[1]) if head is None else [head]
        return max(((a, b) for a in layers for b in numbers), key=lambda place: best[place])

    @staticmethod
    def _name(layer: int, head: int) -> str:
        return f"{layer + 1}.{head + 1}"

    @property
    def _names(self) -> list[str]:
        """What is out, as words: heads by name, edges by their number."""
        edges = len(self.cut_edges)
        heads_out = [self._name(*pair) for pair in self.ablated]
        return [*heads_out, *([f"{edges} edge{'s' if edges > 1 else ''}"] if edges else [])]

    # As text --------------------------------------------------------------------------------------------------------

    def tables(self) -> list[Table]:
        """The heads with their scores, the weights of the held query (or the last), the likeliest next tokens, and the
        edges that are cut, if any."""
        return [self._heads_table(), self._row_table(), self._next_table(), *self._cut_table()]

    def _heads_table(self) -> Table:
        _, n_layers, n_heads = self.scores.shape
        places = [(layer, head) for layer in range(n_layers) for head in range(n_heads)]
        if self.sort_by != "layer":
            score = self.scores[SCORES.index(self.sort_by)]
            places.sort(key=lambda place: -score[place])
        rows = [
            [self._name(*place), *(f"{score[place]:.2f}" for score in self.scores), "out" if place in self._out else ""]
            for place in places
        ]
        order = "in layer order" if self.sort_by == "layer" else f"sorted by {self.sort_by}, highest first"
        return Table(f"the heads (layer.head), {order}; entropy in nats", ["head", *SCORES, "taken out"], rows)

    def _row_table(self) -> Table:
        query = self.token if self.token >= 0 else len(self.ids) - 1
        row = self.rows()[query]
        rows = [[str(key), visible(self.labels[key]), f"{row[key]:.2f}"] for key in range(query + 1)]
        caption = (
            f"head {self._name(self.layer, self.head)}: where token {query}, “{visible(self.labels[query])}”, looks"
        )
        return Table(caption, ["key", "token", "weight"], rows)

    def _next_table(self) -> Table:
        losses = f"loss of the text {self.loss_whole:.3g} nats a token"
        sides = [("whole model", 0)]
        if self._names:
            losses += f", without what is out {self.loss:.3g}"
            sides.append((f"without {', '.join(self._names)}", 1))
        rows = [
            [str(rank + 1)]
            + [
                cell
                for _, run in sides
                for cell in (visible(self.candidates[run][rank]), f"{self.probabilities[run, run, rank]:.3f}")
            ]
            for rank in range(len(self.candidates[0]))
        ]
        columns = ["rank", *(cell for name, _ in sides for cell in (name, "probability"))]
        return Table(f"the likeliest next tokens; {losses}", columns, rows)

    def _cut_table(self) -> list[Table]:
        rows = [
            [self._name(layer, head), *(f"{at} {visible(self.labels[at])}" for at in (query, key)), f"{weight:.2f}"]
            for (layer, head, query, key), weight in zip(self.cut_edges, self.cut_weights.tolist(), strict=True)
        ]
        caption = "the edges cut: in that head the query may not look at the key"
        return [Table(caption, ["head", "query", "key", "weight in the whole model"], rows)] if rows else []
