"""Run prompts through a dense model and the models of finished runs: token losses and continuations."""
