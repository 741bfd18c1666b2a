"""Quantization: numbers in few bits, and models that are made of them."""

from .affine import code_range, min_max, quantize, scale_and_zero_point
from .layers import PackedWeight, QuantizedEmbedding, QuantizedLinear
from .models import bits_by_name, dequantize_model, matrices, model_bytes, quantize_model, with_quantized
from .packing import pack, unpack
from .quantized import Quantized
from .ranges import least_squares_range, percentile_range

__all__ = [
    "PackedWeight",
    "Quantized",
    "QuantizedEmbedding",
    "QuantizedLinear",
    "bits_by_name",
    "code_range",
    "dequantize_model",
    "least_squares_range",
    "matrices",
    "min_max",
    "model_bytes",
    "pack",
    "percentile_range",
    "quantize",
    "quantize_model",
    "scale_and_zero_point",
    "unpack",
    "with_quantized",
]
