"""Compare finished runs: which is better, against which reference, and how certain that is."""
