"""The app for a class: read-only pages with guesses, in a separate process that can do nothing else."""
