"""Weights on disk: our own safetensors files, and the folders that Hugging Face's models come in."""

from .files import load, load_tensors, save, save_tensors
from .pretrained import load_pretrained

__all__ = ["load", "load_pretrained", "load_tensors", "save", "save_tensors"]
