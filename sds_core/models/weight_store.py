"""Where the weights of a model's blocks rest between uses: in memory, or in the model's own files.

Callers ask for a block's weights with `resident(block)`; nothing else knows which kind of store it is. On disk, a
block's parameters are placeholders of the right shape between uses, so a model needs the memory of its non-block
weights (embeddings, last norm, head) and of one block.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from sds_core.files import write_json
from sds_core.models.converted_weights import ConvertedWeights
from sds_core.models.device import return_freed_memory
from sds_core.models.hidden_states import HiddenStateFile, HiddenStates
from sds_core.models.tensor_files import save_tensors
from sds_core.models.weight_files import INDEX, SINGLE


class WeightStore:
    """In memory: every block holds its weights all the time."""

    kind = "memory"

    def __init__(self) -> None:
        self._dense: list[tuple[nn.Parameter, Tensor]] = []

    @contextmanager
    def resident(self, block: nn.Module) -> Iterator[None]:
        """A block's weights can be read and written inside the `with`; a copy of a block is left as it is."""
        yield

    def reapply_on_load(self, block: nn.Module, write: Callable[[], None]) -> None:
        """Call `write` after each later load of a block's dense weights, to repeat what has been written into it.

        Nothing to do in memory, where weights stay as written.
        """

    def change(self, block: nn.Module, write: Callable[[], None]) -> None:
        """From now on, a block's weights are what `write` makes of the dense ones."""
        write()

    def keep_dense(self, parameters: Iterable[nn.Parameter]) -> None:
        """Keep what `restore_dense` needs for these parameters, whose values are the dense ones now."""
        self._dense = [(parameter, parameter.data.clone()) for parameter in parameters]

    def restore_dense(self) -> None:
        """Undo all changes."""
        assert self._dense, "keep_dense comes first"
        for parameter, values in self._dense:
            parameter.data.copy_(values)

    @contextmanager
    def loading_on_call(self) -> Iterator[None]:
        """The whole model can be called inside the `with`; each block is resident during its own call."""
        yield

    def parameters(self, model: nn.Module) -> Iterator[nn.Parameter]:
        """Yield all parameters of the model, shared ones once; each holds its weight until the next is asked for."""
        yield from model.parameters()

    def hidden_states(self) -> HiddenStates:
        """Return an empty list for the hidden states of windows, all of one shape."""
        return []

    def save(self, model: PreTrainedModel, folder: Path) -> None:
        """Save the model as it is now into an empty folder, in the format of `save_pretrained`."""
        model.save_pretrained(folder)


class DiskWeightStore(WeightStore):
    """On disk: a block's weights are read from the model's files for each use, and dropped afterwards.

    Args:
        model: its blocks' parameters of any value; they become placeholders.
        stored: the weights in the model's files, among them all parameters of its blocks (`stored_blocks`).
        scratch: a folder on disk for hidden states.
    """

    kind = "disk"

    def __init__(self, model: nn.Module, stored: ConvertedWeights, scratch: Path):
        super().__init__()
        self._stored, self._scratch = stored, scratch
        self._blocks: dict[nn.Module, dict[str, nn.Parameter]] = dict(stored_blocks(model))
        self._writes: dict[nn.Module, Callable[[], None]] = {}
        self._resident: set[nn.Module] = set()
        for block in self._blocks:
            self._unload(block)

    @contextmanager
    def resident(self, block: nn.Module) -> Iterator[None]:
        """Load a block's weights inside the `with`, its changes applied.

        Raises:
            SDSError: a file has changed or cannot be read, or a weight is NaN or infinite.
        """
        if block not in self._blocks or block in self._resident:
            yield
            return
        self._resident.add(block)
        try:
            self._load(block)
            if block in self._writes:
                self._writes[block]()
            yield
        finally:
            self._unload(block)
            self._resident.remove(block)

    def _load(self, block: nn.Module) -> None:
        parameters = self._blocks[block]
        with torch.inference_mode(False):  # a parameter cannot hold an inference tensor
            for name, tensor in self._stored.read(parameters):
                parameters[name].data = tensor.to(parameters[name].dtype)

    def _unload(self, block: nn.Module) -> None:
        for parameter in self._blocks[block].values():
            parameter.data = placeholder(parameter)
        return_freed_memory()

    def reapply_on_load(self, block: nn.Module, write: Callable[[], None]) -> None:
        self._writes[block] = write

    def change(self, block: nn.Module, write: Callable[[], None]) -> None:
        self.reapply_on_load(block, write)

    def keep_dense(self, parameters: Iterable[nn.Parameter]) -> None:
        """Do nothing: the files hold the dense weights."""

    def restore_dense(self) -> None:
        self._writes.clear()

    @contextmanager
    def loading_on_call(self) -> Iterator[None]:
        calls: dict[nn.Module, ExitStack] = {}

        def begin(block: nn.Module, args: Any) -> None:
            calls[block] = ExitStack()
            calls[block].enter_context(self.resident(block))

        def end(block: nn.Module, args: Any, result: Any) -> None:
            calls.pop(block).close()

        def close_all() -> None:  # of a call that failed
            for call in calls.values():
                call.close()

        with ExitStack() as stack:
            stack.callback(close_all)
            for block in self._blocks:
                stack.callback(block.register_forward_pre_hook(begin).remove)
                stack.callback(block.register_forward_hook(end).remove)
            yield

    def parameters(self, model: nn.Module) -> Iterator[nn.Parameter]:
        in_blocks = {id(parameter) for parameters in self._blocks.values() for parameter in parameters.values()}
        yield from (parameter for parameter in model.parameters() if id(parameter) not in in_blocks)
        for block, parameters in self._blocks.items():
            with self.resident(block):
                yield from parameters.values()

    def hidden_states(self) -> HiddenStates:
        return HiddenStateFile(self._scratch)

    def save(self, model: PreTrainedModel, folder: Path) -> None:
        """Save one file for the non-block weights and one for each block, so that memory holds at most one block.

        transformers writes the first, with the configuration: it may know a tensor by another name than its files do.
        """
        in_blocks = {name for parameters in self._blocks.values() for name in parameters}
        non_block = {name: tensor for name, tensor in model.state_dict().items() if name not in in_blocks}
        count = 1 + len(self._blocks)
        weight_map, size = dict[str, str](), 0

        def add(file: str, tensors: dict[str, Tensor]) -> None:
            nonlocal size
            weight_map.update(dict.fromkeys(tensors, file))
            size += sum(tensor.nbytes for tensor in tensors.values())

        first = f"model-{1:05}-of-{count:05}.safetensors"
        model.save_pretrained(folder, state_dict=non_block, max_shard_size=1 << 60)
        (folder / SINGLE).rename(folder / first)
        add(first, load_file(folder / first))
        for number, (block, parameters) in enumerate(self._blocks.items(), start=2):
            file = f"model-{number:05}-of-{count:05}.safetensors"
            with self.resident(block):
                tensors = self._stored.as_stored({name: parameter.data for name, parameter in parameters.items()})
                save_tensors(folder / file, tensors, {"format": "pt"})
                add(file, tensors)
        write_json(folder / INDEX, {"metadata": {"total_size": size}, "weight_map": weight_map})


def stored_blocks(model: nn.Module) -> list[tuple[nn.Module, dict[str, nn.Parameter]]]:
    """The items of the outermost `ModuleList`s, among them all decoder blocks, with their parameters by full name."""
    names = {module: name for name, module in model.named_modules()}
    lists = [module for module in names if isinstance(module, nn.ModuleList)]
    inner = {m for outer in lists for item in outer for m in item.modules()}
    return [
        (item, {f"{names[item]}.{name}": parameter for name, parameter in item.named_parameters()})
        for outer in lists
        if outer not in inner
        for item in outer
    ]


def placeholder(parameter: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor of a parameter's shape that takes no memory; it is all NaN, so that accidental use shows."""
    return torch.full((), torch.nan, dtype=dtype or parameter.dtype).expand(parameter.shape)
