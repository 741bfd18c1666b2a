import copy
import dataclasses
import warnings

import numpy as np
import pytest
import torch
import transformers
from models import EVERY, random_model, random_tokens

from llmlab import checkpoint, sampling
from llmlab.generate import ContextWarning, generate, generate_batch
from llmlab.kv_cache import ConcatenatingKVCache, KVCache

MODEL = random_model(EVERY["llama"])
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


@pytest.mark.parametrize("family", EVERY)
def test_every_cache_and_none_give_the_same_tokens(family):
    model = random_model(EVERY[family])
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


NAN = float("nan")
LONG = [*range(60)]  # the tiny models know 64 positions
BAD_CALLS = [  # for `generate` and `generate_batch` alike
    ({"prompt": []}, "begin with <s>"),
    ({"prompt": [5, 100]}, "the prompt to have ids from 0 to 96, got 5 to 100"),
    ({"prompt": [-1, 5]}, "the prompt to have ids from 0 to 96, got -1 to 5"),
    ({"prompt": [5, 2.7]}, "each id in the prompt to be a whole number, got float 2.7"),
    ({"prompt": [5, True]}, "each id in the prompt to be a whole number, got bool True"),
    ({"prompt": torch.tensor([5.0])}, "each id in the prompt to be a whole number, got float 5.0"),
    ({"prompt": "The cat"}, "got the text 'The cat'; encode it with the tokenizer"),
    ({"prompt": ["The", "cat"]}, "each id in the prompt to be a whole number, got str 'The'"),
    ({"prompt": torch.ones(1, 5, dtype=torch.long)}, r"token ids in one dimension, got shape \(1, 5\)"),
    ({"prompt": 5}, "the prompt to be a list of token ids, got int 5"),
    ({"max_new_tokens": -1}, "max_new_tokens of at least 0, got -1"),
    ({"max_new_tokens": 2.0}, "max_new_tokens to be a whole number, got float 2.0"),
    ({"max_new_tokens": True}, "max_new_tokens to be a whole number, got bool True"),
    ({"model": random_model(EVERY["llama"]).train()}, "training mode"),
    ({"model": random_model(EVERY["gpt2"]), "prompt": LONG, "max_new_tokens": 6}, "60 tokens and 6 new ones need 65"),
    ({"temperature": NAN}, "temperature from"),
    ({"temperature": -1}, "temperature from"),
    ({"top_k": 0}, "top_k of at least 1"),
    ({"top_p": 1.5}, "0 < top_p <= 1, got 1.5"),
    ({"stop": "</s>"}, "expected stop to be token ids, got the text"),
    ({"stop": [1.5]}, "each id in stop to be a whole number"),
    ({"stop": True}, "each id in stop to be a whole number"),
    ({"stop": {97}}, "stop to have ids from 0 to 96, got 97 to 97"),
    ({"generator": 0}, r"a generator such as torch.Generator\(\).manual_seed\(0\), got int 0"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), BAD_CALLS)
def test_bad_calls_are_refused_at_the_call_before_any_step(call, message):
    call = {"model": MODEL, "prompt": PROMPT, "max_new_tokens": 5, **call}
    model, prompt, n_new = (call.pop(name) for name in ("model", "prompt", "max_new_tokens"))
    with pytest.raises(ValueError, match=message):
        generate(model, prompt, n_new, **call)
    with pytest.raises(ValueError, match=message):
        generate_batch(model, [PROMPT, prompt], n_new, **call)


@pytest.mark.parametrize(
    ("processors", "message"),
    [(lambda logits, ids: logits, "one function; put it into a list"), ([3], "processors to be functions, got int 3")],
)
def test_processors_that_are_no_list_of_functions_are_refused_at_the_call(processors, message):
    with pytest.raises(ValueError, match=message):
        generate(MODEL, PROMPT, 5, processors=processors)


def test_what_a_processor_returns_is_checked():
    for wrong, message in (
        (lambda z, ids: z[:5], r"logits \(97,\), got \(5,\)"),
        (lambda z, ids: None, "got NoneType"),
    ):
        with pytest.raises(ValueError, match=message):
            next(generate(MODEL, PROMPT, 5, processors=[wrong]))


def used_cache(n_new):
    cache = KVCache(MODEL.config, 1, 40)
    list(generate(MODEL, PROMPT, n_new, cache=cache))
    return cache


@pytest.mark.parametrize(
    ("cache", "message"),
    [
        (used_cache(5), "already holds 9 tokens of a prompt of 5; cut it back first"),
        (KVCache(MODEL.config, 2, 40), "a cache of one row, got one of 2; for several rows, use generate_batch"),
        (KVCache(MODEL.config, 1, 8), "holds at most 8 tokens; a prompt of 5 and 5 new ones need 9"),
        (KVCache(MODEL.config, 1, 40, dtype=torch.bfloat16), r"keys in torch.float32.*KVCache\(.*dtype=torch.float32"),
        (KVCache(dataclasses.replace(MODEL.config, n_kv_heads=1), 1, 40), "keeps .* 1 kv heads of width 8"),
        ("none", "to be a cache, None or 'auto', got 'none'"),
    ],
)
def test_a_cache_that_does_not_fit_is_refused_at_the_call(cache, message):
    with pytest.raises(ValueError, match=message):
        generate(MODEL, PROMPT, 5, cache=cache)


def test_a_cache_with_room_for_all_that_is_read_is_enough():
    """The last new token is not read, so 5 tokens and 5 new ones need 9 places."""
    assert len(tokens_of(generate(MODEL, PROMPT, 5, cache=KVCache(MODEL.config, 1, 9)))) == 5
    assert tokens_of(generate(MODEL, PROMPT, 0, cache=KVCache(MODEL.config, 1, 1))) == []


FORMS = {
    "int": int,
    "numpy int": np.int64,
    "tensor of one": torch.tensor,
    "list": lambda token: [token],
    "tuple": lambda token: (96, token),
    "set": lambda token: {token, 96},
    "tensor": lambda token: torch.tensor([token, 96]),
    "array": lambda token: np.array([96, token]),
    "list of tensors": lambda token: [torch.tensor(token)],
}


@pytest.mark.parametrize("form", FORMS)
def test_stop_means_the_same_in_every_form(form):
    tokens = tokens_of(generate(MODEL, PROMPT, 20))
    cut = next(i for i, token in enumerate(tokens) if token not in tokens[:i] and i > 1)
    assert 96 not in tokens[:cut]
    stop = FORMS[form](tokens[cut])
    assert tokens_of(generate(MODEL, PROMPT, 20, stop=stop)) == tokens[: cut + 1]
    assert generate_batch(MODEL, [PROMPT], 20, stop=stop) == [tokens[: cut + 1]]


@pytest.mark.parametrize("form", [tuple, torch.tensor, np.array])
def test_a_prompt_may_be_any_row_of_ids(form):
    assert tokens_of(generate(MODEL, form(PROMPT), 4)) == tokens_of(generate(MODEL, PROMPT, 4))
    assert generate_batch(MODEL, [form(PROMPT)], 4) == generate_batch(MODEL, [PROMPT], 4)


def test_the_logits_of_a_step_are_the_callers_own():
    """Changing them, and a processor that changes its own in place, leaves the run and the next step's logits alone."""

    def forbid_in_place(logits, ids):
        ids.append(0)
        return logits.fill_(-1.0).index_fill_(0, torch.tensor([3]), 0.0)

    expected = list(generate(MODEL, PROMPT, 4))
    for step, other in zip(generate(MODEL, PROMPT, 4), expected, strict=True):
        assert step.token == other.token and torch.equal(step.logits, other.logits)
        step.logits[0] = 1e9
        step.logits.requires_grad_().sum().backward()
    steps = list(generate(MODEL, PROMPT, 4, processors=[forbid_in_place]))
    assert tokens_of(steps) == [3] * 4
    torch.testing.assert_close(steps[0].logits, expected[0].logits)


def test_logits_that_are_nan_stop_the_run_with_the_reason():
    broken = random_model(EVERY["llama"])
    with torch.no_grad():
        broken.blocks[1].ffn.down.weight[0, 0] = NAN
    for temperature in (0.0, 1.0):
        with pytest.raises(ValueError, match="97 of 97 logits are NaN; look for NaN in weights or processors"):
            next(generate(broken, PROMPT, 3, temperature=temperature))
        with pytest.raises(ValueError, match="194 of 194 logits are NaN"):
            generate_batch(broken, [PROMPT, PROMPT], 3, temperature=temperature)


@pytest.mark.parametrize("cached", [True, False])
def test_learned_positions_are_used_to_the_last_and_refused_beyond(cached):
    model, options = random_model(EVERY["gpt2"]), {} if cached else {"cache": None}
    asked = []
    model.position_embedding.register_forward_pre_hook(lambda module, given: asked.append(int(given[0].max())))
    assert len(list(generate(model, LONG, 5, **options))) == 5
    assert max(asked) == 63  # the last of 64: the fifth new token is not read
    asked.clear()
    with pytest.raises(ValueError, match=r"64 learned positions; .* can make 5 at most"):
        generate(model, LONG, 6, **options)
    with pytest.raises(ValueError, match=r"a prompt of 65 tokens and 1 new ones need 65. .* can make 0 at most"):
        generate(model, [*LONG, 1, 2, 3, 4, 5], 1, **options)
    assert not asked
    assert len(generate_batch(model, [[1], LONG], 5)[1]) == 5 and max(asked) == 63


@pytest.mark.parametrize(
    "run",
    [
        lambda model: list(generate(model, LONG, 8)),
        lambda model: list(generate(model, LONG, 8, cache=None)),
        lambda model: generate_batch(model, [[1], LONG], 8),
    ],
    ids=["cached", "uncached", "batch"],
)
def test_a_rope_model_past_its_context_goes_on_and_says_so_once(run):
    model = random_model(EVERY["llama"])
    with pytest.warns(ContextWarning, match="trained with 64 tokens at most and now reads 65") as said:
        run(model), run(model)
    assert len(said) == 1
    with pytest.warns(ContextWarning):  # another model has its own
        run(copy.deepcopy(model))


def test_a_model_within_its_context_says_nothing():
    model = random_model(EVERY["llama"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(generate(model, LONG, 5))) == 5 and len(generate_batch(model, [LONG], 5)[0]) == 5
        steps = generate(model, LONG, 50)  # what might be said comes when it is true, not at the call
        assert [next(steps) for _ in range(5)]


@pytest.mark.parametrize("family", EVERY)
def test_seeded_draws_are_the_same_with_and_without_a_cache_and_in_a_batch_of_one(family):
    model = random_model(EVERY[family])
    options = {"temperature": 1.3, "top_k": 50, "top_p": 0.95}

    def draw():
        return {**options, "generator": torch.Generator().manual_seed(5)}

    cached = tokens_of(generate(model, PROMPT, 20, **draw()))
    assert cached != tokens_of(generate(model, PROMPT, 20))
    assert tokens_of(generate(model, PROMPT, 20, cache=None, **draw())) == cached
    concatenating = ConcatenatingKVCache(model.config, 1)
    assert tokens_of(generate(model, PROMPT, 20, cache=concatenating, **draw())) == cached
    assert generate_batch(model, [PROMPT], 20, **draw()) == [cached]


def test_the_callers_autograd_mode_is_left_alone():
    for _ in generate(MODEL, PROMPT, 2):
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
