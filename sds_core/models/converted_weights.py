"""A model's weights by its own names, each made of the stored tensors on demand, as transformers makes all at once.

Many files hold every expert of a mixture apart, while the model has one parameter for all experts of a block.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    dot_natural_key,
    rename_source_key,
    revert_weight_conversion,
)

from sds_core.models.loading_report import PLAIN_DTYPES
from sds_core.models.weight_files import WeightFiles


class ConvertedWeights:
    """Names and shapes of a model's weights, and the weights themselves on demand.

    Args:
        files: what is stored.
        skeleton: the model, without weights.
    """

    def __init__(self, files: WeightFiles, skeleton: PreTrainedModel):
        self.files = files
        self._skeleton = skeleton
        transforms = get_model_conversion_mapping(skeleton)
        converters = [one for one in transforms if isinstance(one, WeightConverter)]
        renamings = [one for one in transforms if isinstance(one, WeightRenaming)]
        wanted = skeleton.state_dict()
        self._converters = {pattern: converter for converter in converters for pattern in converter.source_patterns}
        self._sources: dict[str, list[tuple[str, str | None]]] = {}
        """The stored tensors of each weight, in order, each with the pattern by which a converter takes it."""
        self._leading: dict[str, str] = {}
        """The first of the weights that are made together, by the names of the others."""
        for stored in sorted(files.shapes, key=dot_natural_key):
            name, pattern = rename_source_key(stored, renamings, converters, skeleton.base_model_prefix, wanted)
            if name not in wanted:
                name, pattern = rename_source_key(stored, [], [], skeleton.base_model_prefix, wanted)
            if name in wanted:
                self._sources.setdefault(name, []).append((stored, pattern))
            first, *others = self._converters[pattern].target_patterns if pattern else [name]
            for other in others:
                self._leading[name.replace(first, other, 1)] = name
        together = {name: self._sources[first] for name, first in self._leading.items() if first in self._sources}
        self._sources = together | self._sources
        vars(skeleton)["_weight_conversions"] = [one for one in transforms if one.was_used()]  # as a loaded model has
        self.shapes: dict[str, tuple[int, ...]] = {}
        """Shapes by name, of the weights that can be made."""
        for name in self._sources:
            if (shape := self._shape(name)) is not None:
                self.shapes[name] = shape

    def sources(self, names: Iterable[str]) -> set[str]:
        """Return the stored tensors that weights are made of."""
        return {stored for name in names for stored, _ in self._sources.get(name, ())}

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Yield weights with their names, in their stored precision.

        Raises:
            SDSError: a file has changed since it was first opened, or a value is NaN or infinite.
        """
        alone: dict[str, str] = {}
        for name in names:
            sources = self._sources[name]
            if sources[0][1] is None:
                alone[sources[0][0]] = name
            else:
                tensors = dict(self.files.read(stored for stored, _ in sources))
                yield name, self._convert(name, tensors.pop)
        for stored, tensor in self.files.read(alone):
            yield alone[stored], tensor

    def as_stored(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return weights as the files hold them: the inverse of `read`."""
        stored = revert_weight_conversion(self._skeleton, dict(weights))
        return {name: tensor.contiguous() for name, tensor in stored.items()}

    def _shape(self, name: str) -> tuple[int, ...] | None:
        """Return the shape of a weight; None if it cannot be made of what is stored."""
        sources = [stored for stored, _ in self._sources[name]]
        if self._sources[name][0][1] is None:
            return self.files.shapes[sources[0]]
        if any(self.files.dtypes[stored] not in PLAIN_DTYPES for stored in sources):
            return None
        try:
            made = self._convert(name, lambda stored: torch.empty(self.files.shapes[stored], device="meta"))
        except (RuntimeError, ValueError, LookupError):  # tensors are missing, or do not fit together
            return None
        return tuple(made.shape)

    def _convert(self, name: str, take: Callable[[str], Tensor]) -> Tensor:
        """Make a weight of its stored tensors.

        Args:
            name: its own.
            take: returns a stored tensor.
        """
        sources = self._sources[name]
        pattern = sources[0][1]
        assert pattern is not None
        converter: Any = deepcopy(self._converters[pattern])
        first = self._leading.get(name, name)
        for stored, own in sources:
            converter.add_tensor(first, stored, own or stored, take(stored))
        made = converter.convert(first, model=self._skeleton, config=self._skeleton.config)[name]
        return made[0] if isinstance(made, list) else made
