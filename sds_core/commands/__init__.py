"""The commands of `python -m sds_core`: each file adds its commands to the parser and runs them.

Modules that load transformers or pandas, which take seconds, are imported by the command that needs them, so that
`list` and `--help` are quick.
"""
