"""Everything that knows Hugging Face: models, their decoder blocks, text and perplexity."""
