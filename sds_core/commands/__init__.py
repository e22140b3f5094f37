"""The commands of `python -m sds_core`: each file adds its commands to the parser and carries them out.

Modules that load transformers, which takes seconds, are imported by the command that needs them: `list` and `--help`
answer at once.
"""
