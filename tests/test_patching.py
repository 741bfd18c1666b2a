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


# Noise --------------------------------------------------------------------------------------------------------------


def noise_by_hand(model, n_tokens, places, size, draws, seed):
    """The same draws, one number of the prompt at a time: (draws, T, D)."""
    drawn = torch.randn(draws, len(places), model.config.d_model, generator=torch.Generator().manual_seed(seed))
    noise = torch.zeros(draws, n_tokens, model.config.d_model)
    for draw in range(draws):
        for number, place in enumerate(places):
            noise[draw, place] = size * model.embedding.weight.std() * drawn[draw, number]
    return noise


def with_noise(model, tokens, answer, noise, changes=None):
    with trace.patch(model, {"embedding": lambda x: x + noise} | (changes or {})):
        return answer_log_probability(model, tokens, answer)


@pytest.mark.parametrize("kind", patching.KINDS)
def test_restoring_from_noise_is_one_run_for_each_draw_layer_and_position(case, kind):
    model, clean, _, _ = case
    places, draws, size, seed = [1, 2, 7], 3, 2.0, 5
    noise = noise_by_hand(model, 8, places, size, draws, seed)
    with torch.no_grad():
        with trace.patch(model, {"embedding": lambda x: x + noise}):
            lost = model(clean.repeat(draws, 1))[:, -1].log_softmax(-1).mean(0)  # (V,)
        answer = (model(clean[None])[0, -1].log_softmax(-1) - lost).argmax().item()
        with trace.record(model) as kept:
            high = answer_log_probability(model, clean, answer)
        lows = [with_noise(model, clean, answer, each) for each in noise]
        low = sum(lows) / draws
        assert high - low > 0.01
        found_high, found_lows = patching.spoiled(model, clean, places, answer, size=size, draws=draws, seed=seed)
        assert found_high == pytest.approx(high, abs=1e-4)
        assert found_lows.tolist() == pytest.approx(lows, abs=1e-4)
        found = patching.restored_from_noise(model, clean, places, answer, kind, size=size, draws=draws, seed=seed)
        for layer in range(model.config.n_layers):
            for position in range(8):

                def put_back(running, layer=layer, position=position):
                    changed = running.clone()
                    changed[0, position] = kept[f"blocks.{layer}.{kind}"][0, position]
                    return changed

                runs = [with_noise(model, clean, answer, each, {f"blocks.{layer}.{kind}": put_back}) for each in noise]
                share = (sum(runs) / draws - low) / (high - low)
                assert found[layer, position].item() == pytest.approx(share, abs=2e-3)


def test_noise_is_seeded_as_large_as_asked_and_costs_nothing_where_there_is_none(case):
    model, clean, _, answer = case
    first, again, other = (patching.spoiled(model, clean, [1], answer, draws=2, seed=seed)[1] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    high, lows = patching.spoiled(model, clean, [1], answer, size=0, draws=2)
    assert lows.tolist() == pytest.approx([high, high], abs=1e-5)
    with pytest.raises(ValueError, match="no less likely with the noise"):
        patching.restored_from_noise(model, clean, [1], answer, size=0)


def test_bad_requests_for_noise_are_named(case):
    model, clean, _, answer = case
    for places in ([], [8], [-1, 2]):
        with pytest.raises(ValueError, match="expected places from 0 to 7"):
            patching.spoiled(model, clean, places, answer)
    with pytest.raises(ValueError, match="at least 1 draw, got 0"):
        patching.spoiled(model, clean, [1], answer, draws=0)
    with pytest.raises(ValueError, match=r"one prompt \(T,\), got \(1, 8\)"):
        patching.restored_from_noise(model, clean[None], [1], answer)
    with pytest.raises(ValueError, match=r"got 'heads'"):
        patching.restored_from_noise(model, clean, [1], answer, "heads")
