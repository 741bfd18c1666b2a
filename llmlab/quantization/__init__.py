"""Quantization: numbers in few bits, and models that are made of them."""

from .activations import Inputs, IntegerLinear, integer_product, observe, on_inputs, quantize_activations
from .affine import code_range, min_max, quantize, scale_and_zero_point
from .allocation import allocate_bits, harm_at
from .cache import QuantizedKVCache, through_cache
from .files import load, open_model, save
from .layers import PackedWeight, QuantizedEmbedding, QuantizedLinear
from .models import bits_by_name, dequantize_model, matrices, model_bytes, quantize_model, with_quantized
from .packing import pack, unpack
from .quantized import Quantized
from .ranges import least_squares_range, percentile_range

__all__ = [
    "Inputs",
    "IntegerLinear",
    "PackedWeight",
    "Quantized",
    "QuantizedEmbedding",
    "QuantizedKVCache",
    "QuantizedLinear",
    "allocate_bits",
    "bits_by_name",
    "code_range",
    "dequantize_model",
    "harm_at",
    "integer_product",
    "least_squares_range",
    "load",
    "matrices",
    "min_max",
    "model_bytes",
    "observe",
    "on_inputs",
    "open_model",
    "pack",
    "percentile_range",
    "quantize",
    "quantize_activations",
    "quantize_model",
    "save",
    "scale_and_zero_point",
    "through_cache",
    "unpack",
    "with_quantized",
]
