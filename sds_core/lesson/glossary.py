"""The field's words in one plain sentence each: every page takes its explanations from here."""

GLOSSARY: dict[str, str] = {
    "pruning": "Setting some of a model’s weights to zero, so that they are no longer needed.",
    "pruner": "A rule that decides which weights of a layer are kept, and with what values.",
    "weight": "A number by which a layer multiplies one of its inputs; a language model has millions of them.",
    "layer": "A table of weights that turns a list of inputs into a list of outputs: a row per output, a column per "
    "input.",
    "block": "One of a language model’s identically built parts, numbered from 0: attention with its layers q, k, v, "
    "o, then the wider layers gate, up and down.",
    "dense": "Nothing is pruned: any weight may differ from zero.",
    "sparse": "Many weights are exactly zero.",
    "sparsity": "The share of the weights that is pruned.",
    "mask": "Which weights are kept and which are pruned, whatever their values.",
    "pattern": "How many weights are kept, and where: 2:4 keeps two of every four neighbours, 50% any half.",
    "2:4": "Of every four neighbouring inputs in a row, two weights are kept: a pattern that some GPUs compute faster.",
    "calibration": "A little text that is sent through the model once, to see what inputs the layers get.",
    "held-out text": "Text that no step of a method has seen: what is gained there is real, not memorised.",
    "overfitting": "Getting better on the text that a method sees, but less, or not at all, on any other.",
    "input norm": "The overall strength of an input: the root of its mean square over the calibration text.",
    "Gram matrix": "A table of how strong every input is and how much any two go together: all that pruning needs to "
    "know about the calibration text.",
    "correlation": "How much two inputs rise and fall together: 1 always, 0 not at all, −1 in opposite directions.",
    "shrinkage": "How much of what the calibration text says about pairs of inputs is put down to chance: 0 believes "
    "all of it, 1 looks at single inputs only.",
    "output error": "Energy of the difference between a layer’s outputs and the dense layer’s, relative to theirs; a "
    "square: 0\N{NO-BREAK SPACE}% is the dense layer, 4\N{NO-BREAK SPACE}% a difference of a fifth of their size.",
    "perplexity": "How unsure a model is about a text: 1 if it is certain of every next word, 50 if it might as well "
    "choose among 50 words.",
    "standard error": "About as much as chance moves a number; a difference of more than two of them is hardly chance.",
    "paired": "Both models read the same windows of text, and each window’s two results are compared: whether it is "
    "easy or hard then plays no part.",
    "token": "The piece of text that a model reads or writes at a time: a word, a part of one, or a single character.",
    "loss": "How unexpected a token was, in nats: 0 if the model was certain of it, 0.69 at even odds, 4.6 at one in a "
    "hundred.",
    "greedy": "Writing the likeliest token every time, without chance: the same text whenever it is asked for.",
    "magnitude": "Keeps the largest weights, whatever their inputs.",
    "Wanda": "Keeps the weights with the largest product of their size and the norm of their input.",
    "SparseGPT": "Prunes column by column, and lets the columns still to come make up for each error.",
    "SDS": "Sparse-Dense-Sparse: prune, let every weight move again, prune once more.",
    "re-dense": "After the first prune, every weight may move again, until the layer acts nearly as the dense one did.",
    "memory": "What every prune removed, added up (the dual variable of ADMM): a weight that is missed in every round "
    "grows there until it comes back.",
    "σ": "Standard deviation, a usual distance from the mean: two thirds of a bell are within one σ of its middle.",
    "round": "One dense step and one prune; the dense phase consists of several rounds.",
    "solved": "The mask stays as it is, and the kept weights take the values with the smallest output error.",
    "spread": "Standard deviation of all weights, relative to that of the dense layer.",
    "near zero": "Share of the weights within a tenth of a dense standard deviation of zero.",
    "kurtosis": "Shape of the non-zero weights: 0 is a bell, below it two peaks, above it long tails.",
    "mask changed": "Share of the weights kept by the first prune that the later mask does not keep.",
    "held-out error": "Output error on text that no step has seen; far above the output error, it means overfitting.",
    "other experts": "In this block, share of the evaluation tokens that the router sends to other experts than in the "
    "dense model.",
    "prune energy": "Share of the energy of the outputs that pruning these weights would remove.",
}
