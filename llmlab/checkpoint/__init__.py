"""Weights on disk: our own safetensors files, and the folders that Hugging Face's models come in."""

from .files import FLOATS, load, load_tensors, save, save_tensors
from .pretrained import load_pretrained

__all__ = ["FLOATS", "load", "load_pretrained", "load_tensors", "save", "save_tensors"]
