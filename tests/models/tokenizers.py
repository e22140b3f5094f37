"""Tokenizers with special tokens of their own."""

import copy

from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerBase


def with_template(tokenizer: PreTrainedTokenizerBase, template: str) -> PreTrainedTokenizerBase:
    """A copy of a tokenizer that adds the tokens of a template such as `<s> $A </s>` to every text."""
    mine = copy.deepcopy(tokenizer)
    added = {word for word in template.split() if word != "$A"}
    special = [(word, mine.convert_tokens_to_ids(word)) for word in added]
    mine.backend_tokenizer.post_processor = TemplateProcessing(single=template, special_tokens=special)
    return mine
