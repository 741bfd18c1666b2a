"""The look of the course's figures: one style, one meaning for each color, and a text alternative for every picture."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

# Okabe and Ito's colors, which color-blind readers can tell apart; the same meaning in every plot and widget.
COLORS = {
    "query": "#0072B2",
    "key": "#E69F00",
    "value": "#009E73",
    "attention": "#CC79A7",
    "wasted": "#D55E00",
    "masked": "#999999",
    "text": "#222222",
}
ATTENTION = LinearSegmentedColormap.from_list("attention", ["#FFFFFF", COLORS["attention"], "#7A3560"])
WIDTH = 7.0  # inches


def style() -> None:
    """Set the course's defaults for all figures that follow."""
    mpl.rcParams.update(
        {
            "figure.figsize": (WIDTH, 3.2),
            "figure.dpi": 110,
            "savefig.dpi": 110,
            "figure.constrained_layout.use": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 12,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.labelsize": 11,
            "xtick.labelsize": 10,
            "ytick.labelsize": 10,
            "font.family": ["DejaVu Sans"],
            "svg.hashsalt": "llmlab",
        }
    )


class Shown:
    """A finished picture with its text alternative: the picture where pictures can be seen, the text elsewhere.

    It is shown as HTML: that is the only form in which JupyterLab and nbconvert's pages both keep the alternative.
    """

    def __init__(self, png: bytes, alt: str):
        self.png, self.alt = png, alt

    def __repr__(self) -> str:
        return self.alt

    def _repr_html_(self) -> str:
        return f'<img alt="{escape(self.alt)}" src="data:image/png;base64,{b64encode(self.png).decode()}">'


def show(figure: Figure, alt: str) -> Shown:
    """Turn a figure into a picture with a text alternative, which says what the picture shows. Closes the figure."""
    if not alt.strip():
        raise ValueError("expected a text alternative that says what the figure shows")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    plt.close(figure)
    return Shown(buffer.getvalue(), alt)


def probability_bars(axes: Axes, labels: Sequence[str], values: Sequence[float], color: str = COLORS["query"]) -> None:
    """Horizontal bars with their values written at the end, the first on top."""
    rows = range(len(values))
    axes.barh(rows, values, color=color, height=0.7)
    axes.set_yticks(rows, labels)
    axes.invert_yaxis()
    axes.set_xlim(0, max(1.0, 1.1 * max(values)))
    axes.set_xlabel("probability")
    for row, value in zip(rows, values, strict=True):
        axes.text(value + 0.01, row, f"{value:.3f}", va="center", fontsize=10, color=COLORS["text"])


def attention_heatmap(
    axes: Axes, weights: Sequence[Sequence[float]], labels: Sequence[str], *, least: float = 0.05
) -> None:
    """Who looks at whom: queries down, keys across, each weight of at least `least` written into its cell.

    A weight of exactly 0, which only the mask makes, is hatched in gray.
    """
    axes.imshow(weights, cmap=ATTENTION, vmin=0, vmax=1, aspect="auto")
    for row, line in enumerate(weights):
        for column, weight in enumerate(line):
            if weight == 0:
                look = {"facecolor": "#eeeeee", "edgecolor": "#cccccc", "hatch": "//", "linewidth": 0}
                axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, **look))
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks(range(len(weights)), labels[-len(weights) :])
    axes.set_xlabel("is looked at (key)")
    axes.set_ylabel("looks (query)")
    for row, line in enumerate(weights):
        for column, weight in enumerate(line):
            if weight >= least:
                color = "white" if weight > 0.6 else COLORS["text"]
                axes.text(column, row, f"{weight:.2f}", ha="center", va="center", fontsize=8, color=color)
    axes.spines[:].set_visible(False)


def traced(axes: Axes, shares: Sequence[Sequence[float]], labels: Sequence[str], *, least: float = 0.1) -> None:
    """What restoring each layer (down, from 1) and token (across) gives back, in percent from `least` on."""
    axes.imshow(shares, cmap=ATTENTION, vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(labels)), labels, rotation=60)
    axes.set_yticks(range(len(shares)), range(1, len(shares) + 1))
    for row, line in enumerate(shares):
        for column, share in enumerate(line):
            if share >= least:
                color = "white" if share > 0.6 else COLORS["text"]
                axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=9, color=color)
    axes.spines[:].set_visible(False)


def visible(token: str) -> str:
    """A token as a label: its spaces and line ends made visible."""
    return token.replace(" ", "·").replace("\n", "⏎") or "∅"


def token_label(tokenizer: Any, token: int) -> str:
    """The token as text; in hexadecimal where its bytes are no whole characters, or none that can be seen."""
    text = tokenizer.decode([token])
    seen = text.replace("\n", " ").isprintable() and "\ufffd" not in text
    return text if seen else f"0x{tokenizer.decode_bytes([token]).hex()}"
