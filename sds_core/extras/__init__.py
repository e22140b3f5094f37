"""Optional extras: a Ray cluster, zero-shot tasks."""
