"""Prompts through a dense model and what finished runs made of it: how each reads them and goes on."""
