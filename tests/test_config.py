"""A config refuses what no model can have, with a message that names the field."""

import pytest

from llmlab import config
from llmlab.config import ModelConfig
from llmlab.ffn import ACTIVATIONS, GATES
from llmlab.norms import NORMS

SMALL = {"vocab_size": 9, "d_model": 8, "n_layers": 1, "n_heads": 2}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"d_model": "48"}, "expected d_model of type int, got str '48'"),
        ({"n_layers": True}, "expected n_layers of type int, got bool True"),
        ({"vocab_size": None}, "expected vocab_size of type int, got NoneType None"),
        ({"d_ff": 4.0}, "expected d_ff of type int | None, got float 4.0"),
        ({"norm_eps": "x"}, "expected norm_eps of type float, got str 'x'"),
        ({"norm_eps": float("nan")}, "expected norm_eps to be a finite number above 0, got nan"),
        ({"rope_theta": 0}, "expected rope_theta to be a finite number above 0, got 0"),
        ({"norm": ["a"]}, "expected norm of type str"),
        ({"rope_scaling": 3}, "expected rope_scaling of type"),
        ({"tie_embeddings": 1}, "expected tie_embeddings of type bool, got int 1"),
        ({"d_ff": 0}, "expected d_ff of at least 1, got 0"),
        ({"sliding_window": 0}, "expected sliding_window of at least 1, got 0"),
        ({"n_experts": -1}, "expected n_experts of at least 0, got -1"),
        ({"ffn": "relu2"}, "expected ffn to be one of"),
    ],
)
def test_a_value_that_no_model_can_have_is_refused_by_its_name(given, told):
    with pytest.raises(ValueError, match="^" + told.replace("|", r"\|")):
        ModelConfig(**{**SMALL, **given})


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("hello", "expected the fields of a config by name, got str 'hello'"),
        ([1], "got list"),
        ({"d_model": 4}, "the config lacks vocab_size, n_layers, n_heads"),
        ({"x": 1, 3: 4}, "unknown config fields 3, x"),
    ],
)
def test_what_is_no_config_is_refused(given, told):
    with pytest.raises(ValueError, match=told):
        ModelConfig.from_dict(given)


def test_a_config_survives_the_way_through_plain_values():
    made = ModelConfig(**SMALL, rope_scaling={"rope_type": "linear", "factor": 2})
    assert ModelConfig.from_dict(made.to_dict()) == made


def test_every_name_that_a_config_allows_has_its_part_and_no_part_lacks_a_name():
    assert set(config.NORMS) == set(NORMS)
    assert set(config.GATED_FFNS) == set(GATES)
    assert set(config.PLAIN_FFNS) == set(ACTIVATIONS)
