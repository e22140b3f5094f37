"""Another way to shrink the Gram matrices of experts that few tokens reach: towards the mean over experts."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from torch import Tensor

from sds_core.models.input_sums import InputSums, Observed
from sds_core.pruning.gram import Gram


@contextmanager
def shrinking_towards_means() -> Iterator[None]:
    """Shrink towards the mean over the same part of all experts, token by token, in place of the own diagonal."""
    plain = InputSums.observed

    def observed(sums: InputSums) -> dict[str, Observed]:
        means = group_means(sums)

        def shrunk(gram: Gram, alpha: float) -> Gram:
            matrix = (1 - alpha) * gram.matrix + alpha * means[gram.name]
            return Gram(matrix, gram.name, gram.outputs)

        with patch.object(Gram, "shrunk", shrunk):
            return plain(sums)

    with patch.object(InputSums, "observed", observed):
        yield


def group_means(sums: InputSums) -> dict[str, Tensor]:
    """Return Σ X Xᵀ / Σ N over the experts of each group, by the names of their linears."""
    groups: dict[str, list] = {}
    for linear in sums._leaders:
        if linear.routed and sums._own[linear.label].tokens:
            groups.setdefault(linear.group, []).append(linear)
    means = {}
    for linears in groups.values():
        own = [sums._own[linear.label] for linear in linears]
        total = sum(one.tokens * one.gram("").matrix for one in own)
        mean = total / sum(one.tokens for one in own)
        means |= {linear.name: mean for linear in linears}
    return means
