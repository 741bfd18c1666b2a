"""`TokenTour`: one prompt from text to the next token, through every stage of the model in the kernel."""

from __future__ import annotations

from typing import Any

import torch
import traitlets

from .. import trace
from ..plots import token_label, visible
from ..sampling import choose
from ..tokenization import BPETokenizer
from ..transformer import Transformer
from .base import Array, LabWidget, Table

N_CANDIDATES = 8
LONGEST = 64  # tokens: what fits on a screen


class TokenTour(LabWidget):
    """Follow a typed prompt through tokens, vectors, attention, layers and probabilities, and let it grow.

    Read and set from Python: `prompt`, `position` (the chosen token), `layer`, `n_new` (how many tokens the model has
    appended), `temperature` (0: greedy). `next_token` and `next_probability` say what the model would write now.
    """

    js = "welcome.js"
    prompt = traitlets.Unicode(help="the text that the reader typed").tag(sync=True)
    position = traitlets.Int(0, help="index of the chosen token; its stages are shown").tag(sync=True)
    layer = traitlets.Int(0, help="index of the chosen layer").tag(sync=True)
    n_new = traitlets.Int(0, help="tokens that the model has appended").tag(sync=True)
    temperature = traitlets.Float(0.0, min=0.0, max=2.0, help="0 takes the likeliest token").tag(sync=True)

    ids = traitlets.List(traitlets.Int(), help="token ids, <s> first").tag(sync=True)
    labels = traitlets.List(traitlets.Unicode(), help="the tokens as text").tag(sync=True)
    token_bytes = traitlets.List(traitlets.Unicode(), help="the bytes of each token, in hex").tag(sync=True)
    candidates = traitlets.List(help="labels of the likeliest tokens, [layer][token][rank]").tag(sync=True)
    embeddings = Array(help="(T, D) float32: the row of the table for each token")
    weights = Array(help="(L, H, T, T) float32: attention")
    probabilities = Array(
        help="(L + 1, T, 8) float32: of the candidates; what each layer would say, the last is the model"
    )
    revision = traitlets.Int(0, help="counts forward passes; the picture follows it").tag(sync=True)

    def __init__(
        self, model: Transformer, tokenizer: BPETokenizer, prompt: str = "The capital of France is", **traits: Any
    ):
        self._model, self._tokenizer = model, tokenizer
        self._new: list[int] = []
        self._generator = torch.Generator().manual_seed(0)
        super().__init__(**traits)
        self.observe(self._on_prompt, "prompt")
        self.observe(self._on_n_new, "n_new")
        self.prompt = prompt
        if not self.ids:
            raise ValueError(self.error or "expected a prompt")

    @property
    def next_token(self) -> str:
        """The likeliest next token, as text."""
        return self.candidates[-1][-1][0]

    @property
    def next_probability(self) -> float:
        """The model's probability of it."""
        return float(self.probabilities[-1, -1, 0])

    def __repr__(self) -> str:
        text = self._tokenizer.decode(self.ids[1:])
        return f"TokenTour({text!r}, next {self.next_token!r} with probability {self.next_probability:.2f})"

    def _on_prompt(self, change: Any) -> None:
        self._attempt(self._start_again)

    def _on_n_new(self, change: Any) -> None:
        self._attempt(self._grow_or_shrink)

    def _start_again(self) -> None:
        ids = self._prompt_ids()
        self._new = []
        with self.hold_trait_notifications():
            self.n_new = 0
        self._forward(ids)

    def _grow_or_shrink(self) -> None:
        if self.n_new == len(self._new):
            return
        ids = self._prompt_ids()
        wanted = max(0, min(self.n_new, self._longest - len(ids)))
        new = self._new[:wanted]
        while len(new) < wanted and (not new or new[-1] != self._end):
            new.append(self._choose([*ids, *new]))
        self._new = new
        self._forward([*ids, *new])
        self.n_new = len(new)

    @property
    def _end(self) -> int:
        return self._tokenizer.special_tokens["</s>"]

    def _prompt_ids(self) -> list[int]:
        ids = [self._tokenizer.special_tokens["<s>"], *self._tokenizer.encode(self.prompt)]
        if len(ids) > self._longest:
            raise ValueError(f"the prompt has {len(ids)} tokens; the tour shows at most {self._longest}")
        return ids

    @property
    def _longest(self) -> int:
        return min(LONGEST, self._model.config.max_seq_len)

    @torch.inference_mode()
    def _choose(self, ids: list[int]) -> int:
        logits = self._model(torch.tensor([ids]))[0, -1]  # (V,)
        return int(choose(logits, temperature=self.temperature, generator=self._generator))

    @torch.inference_mode()
    def _forward(self, ids: list[int]) -> None:
        """One recorded pass over all tokens; everything that the browser draws comes from it."""
        model, n_layers = self._model, self._model.config.n_layers
        names = ["embedding", "logits", "blocks.*.attention.weights", "blocks.*.residual"]
        with trace.record(model, names) as seen:
            model(torch.tensor([ids]))
        # What each layer would say: the final norm and the head applied to its stream (the logit lens).
        streams = [seen[f"blocks.{layer}.residual"][0] for layer in range(n_layers - 1)]
        lens = [model.head(model.norm(stream)) for stream in (seen["embedding"][0], *streams)] + [seen["logits"][0]]
        best = torch.stack(lens).softmax(-1).topk(N_CANDIDATES, dim=-1)  # (L + 1, T, 8)
        text = [[[self._label(token) for token in row] for row in layer] for layer in best.indices.tolist()]
        with self.hold_sync():
            self.ids = ids
            self.labels = [self._label(token) for token in ids]
            self.token_bytes = [self._tokenizer.decode_bytes([token]).hex(" ") for token in ids]
            self.candidates = text
            self.embeddings = seen["embedding"][0]  # (T, D)
            self.weights = torch.stack([seen[f"blocks.{layer}.attention.weights"][0] for layer in range(n_layers)])
            self.probabilities = best.values
            self.position = len(ids) - 1
            self.layer = min(self.layer, n_layers - 1)
            self.revision += 1

    def _label(self, token: int) -> str:
        return token_label(self._tokenizer, token)

    def tables(self) -> list[Table]:
        """The tokens with what the chosen one looks at, what each layer would say, and the likeliest next tokens."""
        n_layers, _, n_tokens, _ = self.weights.shape
        position = max(0, min(self.position, n_tokens - 1))
        layer = max(0, min(self.layer, n_layers - 1))
        chosen = visible(self.labels[position])
        heads = [f"head {head + 1}" for head in range(self.weights.shape[1])]
        looks = self.weights[layer, :, position].T  # (T, H)
        tokens = [
            [visible(label), str(token), raw, *(f"{weight:.2f}" if index <= position else "" for weight in row)]
            for index, (label, token, raw, row) in enumerate(
                zip(self.labels, self.ids, self.token_bytes, looks, strict=True)
            )
        ]
        lens = [
            [f"after layer {index}" if index else "before layer 1", visible(said[position][0]), f"{best:.3f}"]
            for index, (said, best) in enumerate(zip(self.candidates, self.probabilities[:, position, 0], strict=True))
        ]
        likeliest = zip(self.candidates[-1][position], self.probabilities[-1, position], strict=True)
        following = [[visible(label), f"{probability:.3f}"] for label, probability in likeliest]
        return [
            Table(
                f"“{self.prompt}”: its tokens, and how much “{chosen}” attends to each in layer {layer + 1}",
                ["token", "id", "bytes", *heads],
                tokens,
            ),
            Table("what the model would say if it stopped after a layer", ["layer", "token", "probability"], lens),
            Table(f"the likeliest tokens after “{chosen}”", ["token", "probability"], following),
        ]
