"""All widgets on one page, each in the light and the dark theme, to look at them side by side."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from .. import load_model
from . import export
from .answer import HelpfulAnswer
from .attention import AttentionStepper
from .base import LabWidget
from .costs import CostCalculator
from .embeddings import EmbeddingExplorer
from .ffn import FactTracer
from .gqa import HeadSharing
from .gradients import Descent
from .heads import HeadExplorer
from .kv_cache import KVCacheStepper
from .quantization import BitSlider
from .quiz import Guess, Quiz
from .rope import RoPERotator
from .rounding import RoundingStepper
from .tokenization import BPEStepper
from .training import TrainingDashboard
from .welcome import TokenTour

LAYOUT = """<style>
body { max-width: none; }
.llmlab-pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 640px), 1fr)); }
.llmlab-pair > div { min-width: 0; padding: 16px; background: var(--jp-layout-color1); }
</style>"""

QUESTION = SimpleNamespace(
    id="example.parameters",
    text="Which of these are parameters of a model?",
    options=("its logits", "its weights", "its KV cache"),
    answer=1,
    why=("They are computed anew for each text.", "Training changed them.", "It holds what was computed for one text."),
)
PREDICTION = SimpleNamespace(id="example.tokens", text="How many tokens is this sentence?", options=(), unit="tokens")


class AnswerExample:
    """What an exercise says of a mistake."""

    status = "wrong"
    text = "each column sums to 1; softmax should be over the keys, the last dimension"

    def html(self) -> str:
        return f"<p>{self.text}</p>"

    def record(self) -> dict[str, Any]:
        return {"status": self.status, "mark": "✗", "label": "not yet", "text": self.text, "parts": []}


def examples() -> dict[str, Callable[[], LabWidget]]:
    """Each widget's name and a function that makes one, on the shipped model."""
    model, tokenizer = load_model()
    return {
        "TokenTour": lambda: TokenTour(model, tokenizer, "The capital of France is"),
        "Descent": Descent,
        "BPEStepper": BPEStepper,
        "EmbeddingExplorer": lambda: EmbeddingExplorer(model, tokenizer),
        "HeadExplorer": lambda: HeadExplorer(model, tokenizer),
        "AttentionStepper": AttentionStepper,
        "RoPERotator": lambda: RoPERotator(model, tokenizer),
        "FactTracer": lambda: FactTracer(model, tokenizer),
        "TrainingDashboard": TrainingDashboard,
        "KVCacheStepper": lambda: KVCacheStepper(model, tokenizer, "Anna had a dog.", 12),
        "CostCalculator": lambda: CostCalculator("Llama-2-7B"),
        "HeadSharing": HeadSharing,
        "BitSlider": lambda: BitSlider(model, tokenizer),
        "RoundingStepper": lambda: RoundingStepper(model, tokenizer),
        "Quiz": lambda: Quiz([QUESTION], tried=[[0]]),
        "Guess": lambda: Guess(PREDICTION),
        "HelpfulAnswer": lambda: HelpfulAnswer(AnswerExample(), lambda kind: AnswerExample()),
    }


def save(path: str | Path) -> Path:
    """Write the page of all widgets and return its path. ValueError or OSError says what is wrong with the path."""
    path = export.checked(path)
    widgets = {name: make() for name, make in examples().items()}
    parts = []
    for number, name in enumerate(widgets):
        pair = (f'<div class="llmlab-{theme}">{export.place(number)}</div>' for theme in ("light", "dark"))
        parts.append(f'<h2>{escape(name)}</h2><div class="llmlab-pair">{"".join(pair)}</div>')
    note = "Each widget as a recording, in both themes. There is no kernel behind this page."
    body = f"{LAYOUT}<p>{note}</p>{''.join(parts)}"
    return export.write(path, export.page("The widgets", body, list(widgets.values())))
