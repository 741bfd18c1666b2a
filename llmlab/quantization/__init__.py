"""Quantization: numbers in few bits, and models that are made of them."""

from .activations import Inputs, IntegerLinear, integer_product, observe, on_inputs, quantize_activations
from .affine import code_range, min_max, quantize, scale_and_zero_point
from .allocation import allocate_bits, harm_at
from .cache import QuantizedKVCache, through_cache
from .codebooks import double_quantized, nf4, normal_levels, quantize_to_levels, to_levels
from .files import load, open_model, save
from .gptq import gptq, gptq_by_hessian, hessian, output_error, quantize_by_gptq
from .kernels import DynamicInt8Linear, Int4Linear, Int8Linear, code_bits
from .layers import PackedWeight, QuantizedEmbedding, QuantizedLinear
from .models import bits_by_name, dequantize_model, matrices, model_bytes, quantize_model, with_quantized
from .packing import pack, unpack
from .quantized import Quantized
from .ranges import least_squares_range, percentile_range
from .rotation import fold_norms, hadamard, outlier_ratio, random_rotation, rotate_stream
from .scaling import Scaling, awq_scale, scale_by_awq, scale_by_smoothquant, smooth_scale
from .structure import Joint, joints, rescale
from .training import FakeQuantizedEmbedding, FakeQuantizedLinear, fake_quantize, finish, prepare_for_training

__all__ = [
    "DynamicInt8Linear",
    "FakeQuantizedEmbedding",
    "FakeQuantizedLinear",
    "Inputs",
    "Int4Linear",
    "Int8Linear",
    "IntegerLinear",
    "Joint",
    "PackedWeight",
    "Quantized",
    "QuantizedEmbedding",
    "QuantizedKVCache",
    "QuantizedLinear",
    "Scaling",
    "allocate_bits",
    "awq_scale",
    "bits_by_name",
    "code_bits",
    "code_range",
    "dequantize_model",
    "double_quantized",
    "fake_quantize",
    "finish",
    "fold_norms",
    "gptq",
    "gptq_by_hessian",
    "hadamard",
    "harm_at",
    "hessian",
    "integer_product",
    "joints",
    "least_squares_range",
    "load",
    "matrices",
    "min_max",
    "model_bytes",
    "nf4",
    "normal_levels",
    "observe",
    "on_inputs",
    "open_model",
    "outlier_ratio",
    "output_error",
    "pack",
    "percentile_range",
    "prepare_for_training",
    "quantize",
    "quantize_activations",
    "quantize_by_gptq",
    "quantize_model",
    "quantize_to_levels",
    "random_rotation",
    "rescale",
    "rotate_stream",
    "save",
    "scale_and_zero_point",
    "scale_by_awq",
    "scale_by_smoothquant",
    "smooth_scale",
    "through_cache",
    "to_levels",
    "unpack",
    "with_quantized",
]
