"""Finished runs beside each other: which is better, against what, and whether that is sure."""
