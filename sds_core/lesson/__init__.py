"""The Walk: eight questions, from why to prune to what is really better, answered by the finished examples."""
