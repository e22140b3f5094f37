"""Tensors in, tensors out: patterns, pruners, reconstruction. No Hugging Face, no files, no printing."""
