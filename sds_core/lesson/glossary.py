"""The words of this field, one plain sentence each: every page takes its explanations from here."""

GLOSSARY: dict[str, str] = {
    "pruning": "Setting some of a model’s weights to zero, so that they are no longer needed.",
    "pruner": "A rule that decides which weights of a layer are kept, and with which values.",
    "weight": "A number with which a layer multiplies one of its inputs; a language model has millions of them.",
    "layer": "A table of weights that turns a list of inputs into a list of outputs: one row an output, one column an "
    "input.",
    "dense": "Nothing is pruned: every weight may differ from zero.",
    "sparse": "Many weights are exactly zero.",
    "sparsity": "The share of the weights that is pruned.",
    "mask": "Which weights are kept and which are pruned; their values are another matter.",
    "pattern": "How many weights may be kept, and where: 2:4 keeps two of every four neighbours, 50% any half.",
    "2:4": "Of every four neighbouring inputs of a row, two weights are kept: a pattern that some GPUs compute faster.",
    "calibration": "A little text that is sent through the model once, to see which inputs the layers get.",
    "held-out text": "Text that no step has looked at: what a method gains on it is real, and not learnt by heart.",
    "overfitting": "Getting better on the text one looks at, and not, or not as much, on any other.",
    "input norm": "How strong an input is on the whole: the root of its mean square over the calibration text.",
    "Gram matrix": "The table that says how strong each input is and how much any two go together; all that pruning "
    "needs to know of the calibration text.",
    "correlation": "How much two inputs go up and down together: 1 always, 0 not at all, −1 in opposite directions.",
    "shrinkage": "How much of what the calibration text says about pairs of inputs is taken as chance: 0 believes it "
    "all, 1 looks at single inputs only.",
    "output error": "How far a layer’s outputs are from those of the dense layer, squared, as a share of the outputs "
    "themselves: 0\N{NO-BREAK SPACE}% is the dense layer.",
    "perplexity": "How surprised a model is by a text: a model that is sure of every next word has 1, one that guesses "
    "among 50 words has 50.",
    "standard error": "About as much as chance moves a number; a difference of more than two of them is hardly chance.",
    "token": "The piece of text that a model reads or writes at a time: a word, a part of one, or a sign.",
    "loss": "How little a model expected a token, in nats: 0 if it was certain of it, 0.69 at even odds, 4.6 at one in "
    "a hundred.",
    "greedy": "Writing the likeliest token each time, without any chance: the same text whenever one asks.",
    "magnitude": "Keeps the largest weights, whatever flows through them.",
    "Wanda": "Keeps the weights with the largest product of their size and the norm of their input.",
    "SparseGPT": "Prunes one column after the other, and lets the columns that are still to come repair each error.",
    "SDS": "Sparse-Dense-Sparse: prune, let every weight move again, prune once more.",
    "re-dense": "After the first prune every weight may move again, towards what the dense layer did.",
    "memory": "What each prune threw away, added up: a weight that is missed in every round grows until it comes back.",
    "round": "One dense step and one prune, of the several that the dense phase consists of.",
    "solved": "The mask stays as it is, and the kept weights take the values with the smallest output error.",
    "spread": "Standard deviation of all weights, in those of the dense layer.",
    "near zero": "Share of weights within a tenth of a dense standard deviation of zero.",
    "kurtosis": "Shape of the non-zero weights: 0 is a bell, below it two peaks, above it long tails.",
    "mask changed": "Share of the weights that the first prune kept and the later mask does not.",
    "held-out error": "Output error on text that no solver has seen; far above the output error means overfitting.",
    "prune energy": "Share of the outputs’ energy that pruning these weights would take away.",
}
