"""llmlab: how large language models work, in small modules that the notebooks derive and then trust.

`import llmlab` is light: PyTorch is imported when a module that needs it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .tokenization import BPETokenizer
    from .transformer import Transformer

__version__ = "0.1.0"
__all__ = ["data_path", "load_gpt2_tokenizer", "load_model"]


def data_path(name: str) -> Path:
    """The path of a file that ships with the course, in a clone and in an installed wheel alike.

    Raises FileNotFoundError naming the folders that were searched.
    """
    package = Path(__file__).resolve().parent
    folders = [package / "data", package.parent / "data"]
    for folder in folders:
        if (folder / name).exists():
            return folder / name
    raise FileNotFoundError(f"no data file {name!r}; looked in {' and '.join(map(str, folders))}")


def load_model(name: str = "model") -> tuple[Transformer, BPETokenizer]:
    """A trained model that ships with the course and its tokenizer, ready for evaluation, in float32.

    "model" is the course's model; "draft" is small and fast and guesses what the model would say; "encoder" reads in
    both directions: call it with `mask=torch.ones(T, T, dtype=torch.bool)`, and with "<mask>" where a token is hidden.
    "mha" has as many kv heads as heads, to be converted; "endless" is a draft that has never read an end token.
    """
    from . import checkpoint, tokenization

    if name not in ("model", "draft", "encoder", "mha", "endless"):
        raise ValueError(f"expected the name model, draft, encoder, mha or endless, got {name!r}")
    model = checkpoint.load(data_path(f"{name}.safetensors"))
    return model, tokenization.BPETokenizer.load(data_path("tokenizer.json"))


def load_gpt2_tokenizer() -> BPETokenizer:
    """GPT-2's tokenizer of 50,257 tokens, from its merges, which ship with the course (Radford et al. 2019)."""
    from .tokenization import BPETokenizer

    return BPETokenizer.from_gpt2_merges(data_path("gpt2_merges.txt"))
