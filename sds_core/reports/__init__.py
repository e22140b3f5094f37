"""Documents to hand out: a run’s report, the lesson’s hand-out."""
