"""The token tour: its traits, and its numbers against torch."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from llmlab import load_model
from llmlab.generate import generate
from llmlab.transformer import Transformer
from llmlab.widgets.welcome import TokenTour

MODEL, TOKENIZER = load_model()
PROMPT = "The cat was tired"


@pytest.fixture
def tour():
    return TokenTour(MODEL, TOKENIZER, PROMPT)


def ids_of(text):
    return [TOKENIZER.special_tokens["<s>"], *TOKENIZER.encode(text)]


def test_tokens_ids_and_bytes_are_the_tokenizers(tour):
    assert tour.ids == ids_of(PROMPT)
    assert "".join(tour.labels) == "<s>" + PROMPT
    assert bytes.fromhex("".join(tour.token_bytes[1:])) == PROMPT.encode()
    assert tour.position == len(tour.ids) - 1


def test_a_token_that_is_no_whole_character_is_labeled_by_its_byte_and_the_text_stays_whole():
    tour = TokenTour(MODEL, TOKENIZER, "咖")  # three bytes that no merge joins
    assert tour.labels == ["<s>", *(f"0x{byte:02x}" for byte in "咖".encode())]
    assert repr(tour).startswith("TokenTour('咖', next ")


def test_probabilities_are_the_models(tour):
    with torch.inference_mode():
        expected = MODEL(torch.tensor([tour.ids]))[0].softmax(-1)  # (T, V)
    best = expected.topk(8, dim=-1)
    np.testing.assert_allclose(tour.probabilities[-1], best.values, rtol=1e-3, atol=1e-6)
    assert tour.candidates[-1] == [[TOKENIZER.decode([token]) for token in row] for row in best.indices.tolist()]
    assert tour.next_probability == pytest.approx(expected[-1].max().item(), rel=1e-4)


def test_embeddings_and_attention_equal_torch_by_hand(tour):
    """Layer 0's attention, rebuilt from the weights with PyTorch's own functions."""
    x = MODEL.embedding.weight[torch.tensor(tour.ids)]  # (T, D)
    np.testing.assert_array_equal(tour.embeddings, x.detach())
    block, config = MODEL.blocks[0], MODEL.config
    normal = F.rms_norm(x, (config.d_model,), block.attention_norm.weight, config.norm_eps)
    n_tokens, half = len(tour.ids), config.head_dim // 2
    q = F.linear(normal, block.attention.q_proj.weight).view(n_tokens, config.n_heads, -1).transpose(0, 1)
    k = F.linear(normal, block.attention.k_proj.weight).view(n_tokens, config.n_kv_heads, -1).transpose(0, 1)
    angles = torch.outer(torch.arange(n_tokens), config.rope_theta ** (-torch.arange(half) / half))
    turn = torch.polar(torch.ones_like(angles), angles)

    def rotated(y):
        z = torch.complex(y[..., :half], y[..., half:]) * turn
        return torch.cat((z.real, z.imag), dim=-1)

    k = rotated(k).repeat_interleave(config.n_heads // config.n_kv_heads, dim=0)
    scores = rotated(q) @ k.transpose(1, 2) / config.head_dim**0.5
    future = torch.ones(n_tokens, n_tokens, dtype=torch.bool).triu(1)
    expected = scores.masked_fill(future, -torch.inf).softmax(-1)
    np.testing.assert_allclose(tour.weights[0], expected.detach(), rtol=1e-3, atol=1e-5)


def test_first_and_last_row_of_the_lens_are_the_table_and_the_model(tour):
    with torch.inference_mode():
        table = MODEL.head(MODEL.norm(MODEL.embedding.weight[torch.tensor(tour.ids)])).softmax(-1)
    np.testing.assert_allclose(tour.probabilities[0, :, 0], table.amax(-1), rtol=1e-3)
    assert tour.probabilities.shape == (MODEL.config.n_layers + 1, len(tour.ids), 8)


def test_appending_continues_greedily_and_taking_back_undoes_it(tour):
    expected = [step.token for step in generate(MODEL, ids_of(PROMPT), 3)]
    tour.n_new = 3
    assert tour.ids == ids_of(PROMPT) + expected and tour.position == len(tour.ids) - 1
    tour.n_new = 1
    assert tour.ids == ids_of(PROMPT) + expected[:1]
    tour.prompt = "The dog"
    assert tour.ids == ids_of("The dog") and tour.n_new == 0


def test_appending_stops_at_the_end_of_the_text(tour):
    tour.n_new = 60
    end = TOKENIZER.special_tokens["</s>"]
    assert tour.n_new == len(tour.ids) - len(ids_of(PROMPT))
    assert end not in tour.ids[:-1] and (tour.ids[-1] == end or len(tour.ids) == 64)


def test_a_prompt_that_is_too_long_is_refused_and_the_picture_stays(tour):
    before = tour.ids
    tour.prompt = "cat " * 100
    assert "tokens; the tour shows at most 64" in tour.error
    assert tour.ids == before and not tour.busy
    tour.prompt = "The dog"
    assert tour.error == ""
    with pytest.raises(ValueError, match="shows at most 64"):
        TokenTour(MODEL, TOKENIZER, "cat " * 100)


def test_the_tour_stays_within_the_context_of_its_model():
    short = Transformer(dataclasses.replace(MODEL.config, max_seq_len=8)).eval()
    tour = TokenTour(short, TOKENIZER, "cat")
    tour.n_new = 20
    assert len(tour.ids) <= 8 and tour.error == ""
    with pytest.raises(ValueError, match="shows at most 8"):
        TokenTour(short, TOKENIZER, "cat " * 10)


def test_special_tokens_cannot_be_typed(tour):
    tour.prompt = "a</s>b"
    assert TOKENIZER.special_tokens["</s>"] not in tour.ids


def test_without_a_kernel_a_table_shows_with_the_text_escaped(tour):
    tour.prompt = "<b>bold</b>"
    bundle, _ = tour._repr_mimebundle_()
    assert "<b>" not in bundle["text/html"] and "&lt;b&gt;bold&lt;/b&gt;" in bundle["text/html"]
    assert f"{tour.next_probability:.3f}" in bundle["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_repr_is_the_same_on_every_run():
    one, two = (TokenTour(MODEL, TOKENIZER, PROMPT) for _ in range(2))
    assert repr(one) == repr(two) and "0x" not in repr(one) and PROMPT in repr(one)


def test_the_tables_hold_the_numbers_of_the_chosen_token(tour):
    tour.position, tour.layer = 2, 3
    tokens, lens, following = tour.tables()
    assert [row[1] for row in tokens.rows] == [str(token) for token in tour.ids]
    shown = [[float(cell) for cell in row[3:]] for row in tokens.rows[:3]]
    np.testing.assert_allclose(shown, tour.weights[3, :, 2, :3].T, atol=0.006)
    assert all(cell == "" for row in tokens.rows[3:] for cell in row[3:])  # later tokens cannot be seen
    assert [float(row[2]) for row in lens.rows] == pytest.approx(tour.probabilities[:, 2, 0].tolist(), abs=6e-4)
    assert [float(row[1]) for row in following.rows] == pytest.approx(tour.probabilities[-1, 2].tolist(), abs=6e-4)
    assert len(following.rows) == 8 and following.rows[0][0] == tour.candidates[-1][2][0].replace(" ", "·")


def test_what_goes_wrong_in_the_model_is_shown_whatever_it_is(tour, monkeypatch):
    def broken(ids):
        raise KeyError("blocks.9")

    monkeypatch.setattr(tour, "_forward", broken)
    tour.prompt = "The dog"
    assert tour.error == "KeyError: 'blocks.9'" and not tour.busy
    monkeypatch.undo()
    tour.prompt = "The cat"
    assert tour.error == "" and tour.ids == ids_of("The cat")
