"""The app of a class: pages to look at and to guess, in a process of its own that can do nothing else."""
