"""Restoring activations against one patched run at a time, and against what must hold for any model."""

import pytest
import torch
from models import TINY, random_model, random_tokens

from llmlab import patching, trace


@pytest.fixture(params=TINY)
def case(request):
    config = TINY[request.param]
    model = random_model(config)
    clean, corrupted = random_tokens(config, 2, 8)
    corrupted[-2:] = clean[-2:]  # the question is the same, the subject is another
    with torch.no_grad():
        answer = (model(clean[None]) - model(corrupted[None]))[0, -1].log_softmax(-1).argmax().item()
    return model, clean, corrupted, answer


def answer_log_probability(model, tokens, answer):
    return model(tokens[None])[0, -1].log_softmax(-1)[answer].item()


@pytest.mark.parametrize("kind", patching.KINDS)
def test_restoring_is_one_patched_run_for_each_layer_and_position(case, kind):
    model, clean, corrupted, answer = case
    found = patching.restored(model, clean, corrupted, answer, kind)
    with torch.no_grad():
        with trace.record(model) as kept:
            high = answer_log_probability(model, clean, answer)
        low = answer_log_probability(model, corrupted, answer)
        for layer in range(model.config.n_layers):
            for position in range(8):

                def put_back(running, layer=layer, position=position):
                    changed = running.clone()
                    changed[0, position] = kept[f"blocks.{layer}.{kind}"][0, position]
                    return changed

                with trace.patch(model, {f"blocks.{layer}.{kind}": put_back}):
                    share = (answer_log_probability(model, corrupted, answer) - low) / (high - low)
                assert found[layer, position].item() == pytest.approx(share, abs=2e-3)


def test_the_last_stream_carries_everything(case):
    model, clean, corrupted, answer = case
    found = patching.restored(model, clean, corrupted, answer)
    assert found[-1, -1].item() == pytest.approx(1, abs=1e-3)
    torch.testing.assert_close(found[-1, :-1], torch.zeros(7), atol=1e-3, rtol=0)


def test_bad_prompts_are_named(case):
    model, clean, corrupted, answer = case
    with pytest.raises(ValueError, match=r"one length, got \(8,\) and \(7,\)"):
        patching.restored(model, clean, corrupted[:-1], answer)
    with pytest.raises(ValueError, match="no less likely"):
        patching.restored(model, clean, clean, answer)
    with pytest.raises(ValueError, match=r"one of residual, attention\.out, ffn\.out, got 'heads'"):
        patching.restored(model, clean, corrupted, answer, "heads")
