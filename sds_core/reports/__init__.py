"""What is handed out: a run’s report, the lesson’s hand-out."""
