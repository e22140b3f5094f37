"""The Walk: eight questions from why one prunes to whether it is really better, answered by the finished examples."""
