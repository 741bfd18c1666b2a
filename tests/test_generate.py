import pytest
import torch
import transformers
from models import TINY, random_model, random_tokens

from llmlab import checkpoint, sampling
from llmlab.generate import generate, generate_batch
from llmlab.kv_cache import ConcatenatingKVCache, KVCache

MODEL = random_model(TINY["llama"])
PROMPT = [5, 17, 3, 60, 42]


def tokens_of(steps):
    return [step.token for step in steps]


def test_greedy_tokens_equal_transformers_generate(tmp_path):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=97, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=48, initializer_range=0.3, pad_token_id=0, eos_token_id=None, bos_token_id=None,
    )  # fmt: skip
    theirs = transformers.LlamaForCausalLM(config).eval()
    theirs.save_pretrained(tmp_path)
    ours = checkpoint.load_pretrained(tmp_path)
    expected = theirs.generate(torch.tensor([PROMPT]), max_new_tokens=30, do_sample=False)[0, len(PROMPT) :].tolist()
    assert tokens_of(generate(ours, PROMPT, 30)) == expected
    assert len(set(expected)) > 5  # not a loop of one token


@pytest.mark.parametrize("family", TINY)
def test_every_cache_and_none_give_the_same_tokens(family):
    model = random_model(TINY[family])
    caches = [KVCache(model.config, 1, 30), ConcatenatingKVCache(model.config, 1), None]
    runs = [tokens_of(generate(model, PROMPT, 20, cache=cache)) for cache in caches]
    assert runs[0] == runs[1] == runs[2] == tokens_of(generate(model, PROMPT, 20))


def test_each_step_holds_the_logits_it_was_chosen_from():
    ids = list(PROMPT)
    for step in generate(MODEL, PROMPT, 6):
        with torch.inference_mode():
            torch.testing.assert_close(step.logits, MODEL(torch.tensor([ids]))[0, -1], rtol=1e-4, atol=1e-4)
        assert step.token == step.logits.argmax() and step.seconds > 0
        ids.append(step.token)


def test_a_stop_token_is_yielded_and_ends_the_run():
    tokens = tokens_of(generate(MODEL, PROMPT, 20))
    cut = next(i for i, token in enumerate(tokens) if token not in tokens[:i] and i > 1)
    assert tokens_of(generate(MODEL, PROMPT, 20, stop={tokens[cut]})) == tokens[: cut + 1]


def test_a_cache_that_holds_the_beginning_is_continued():
    cache = KVCache(MODEL.config, 1, 40)
    first = tokens_of(generate(MODEL, PROMPT, 5, cache=cache))
    longer = [*PROMPT, *first]
    assert cache.lengths.item() == len(longer) - 1  # the last token has not been read yet
    assert tokens_of(generate(MODEL, longer, 5, cache=cache)) == tokens_of(generate(MODEL, longer, 5))


def test_sampling_repeats_with_its_seed_and_obeys_processors():
    def run(seed, **options):
        generator = torch.Generator().manual_seed(seed)
        return tokens_of(generate(MODEL, PROMPT, 12, temperature=1.5, generator=generator, **options))

    assert run(0) == run(0) != run(1)

    def never_repeat(logits, ids):
        return logits.index_fill(0, torch.tensor(ids), float("-inf"))

    tokens = run(0, processors=[never_repeat])
    assert len({*PROMPT, *tokens}) == len(PROMPT) + len(tokens)
    assert run(0, top_k=1) == tokens_of(generate(MODEL, PROMPT, 12))
    assert sampling.top_k_filter(torch.zeros(3), 1).isfinite().all()  # ties at the k-th are all kept


def test_a_batch_of_unequal_prompts_equals_each_alone():
    prompts = [random_tokens(MODEL.config, n, seed=n).tolist() for n in (1, 9, 4)]
    alone = [tokens_of(generate(MODEL, prompt, 15, stop={7})) for prompt in prompts]
    assert generate_batch(MODEL, prompts, 15, stop={7}) == alone
    assert generate_batch(MODEL, [], 15) == [] and generate_batch(MODEL, prompts, 0) == [[], [], []]


def test_bad_calls_are_refused_before_the_first_step():
    with pytest.raises(ValueError, match="begin with <s>"):
        generate(MODEL, [], 5)
    with pytest.raises(ValueError, match="token ids below 97, got 5 to 100"):
        generate(MODEL, [5, 100], 5)
    with pytest.raises(ValueError, match="max_new_tokens of at least 0, got -1"):
        generate(MODEL, PROMPT, -1)
    with pytest.raises(ValueError, match="training mode"):
        generate(random_model(TINY["llama"]).train(), PROMPT, 5)
    cache = KVCache(MODEL.config, 1, 40)
    list(generate(MODEL, PROMPT, 5, cache=cache))
    with pytest.raises(ValueError, match="already holds 9 tokens of a prompt of 5"):
        next(generate(MODEL, PROMPT, 5, cache=cache))


def test_the_callers_autograd_mode_is_left_alone():
    for _ in generate(MODEL, PROMPT, 2):
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
