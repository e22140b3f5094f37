"""Where the weights of a model's blocks lie while nobody works on them: in memory, or in the model's own files.

Whoever works on a block takes it off the store; nothing else knows which kind of store it is. On disk, a block's
parameters are stand-ins of the right shape between uses, so that a model needs the memory of its frame (embeddings,
last norm, head) and of one block.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import GENERATION_CONFIG_NAME

from sds_core.errors import SDSError
from sds_core.models.device import return_freed_memory
from sds_core.models.hidden_states import HiddenStateFile
from sds_core.models.weight_files import INDEX, WeightFiles


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

        Nothing to do in memory, where what has been written stays.
        """

    def change(self, block: nn.Module, write: Callable[[], None]) -> None:
        """From here on, a block's weights are what `write` makes of the dense ones."""
        write()

    def keep_dense(self, parameters: Iterable[nn.Parameter]) -> None:
        """Be able to restore these, whose dense values are in the model now."""
        self._dense = [(parameter, parameter.data.clone()) for parameter in parameters]

    def restore_dense(self) -> None:
        """Undo all changes."""
        assert self._dense, "only what was kept can be restored"
        for parameter, values in self._dense:
            parameter.data.copy_(values)

    @contextmanager
    def visited(self) -> Iterator[None]:
        """The whole model can be called inside the `with`, each block being taken for its own call."""
        yield

    def hidden_states(self, tensors: Iterable[Tensor] = ()) -> list[Tensor] | HiddenStateFile:
        """A list for the hidden states of windows, which are all of one shape."""
        return list(tensors)

    def save(self, model: PreTrainedModel, folder: Path) -> None:
        """Write the model as it is now into a new folder, as `from_pretrained` loads it."""
        model.save_pretrained(folder)


class DiskWeightStore(WeightStore):
    """On disk: a block's weights are read from the model's files when it is taken, and forgotten afterwards.

    Args:
        model: its blocks' parameters of any value; they become stand-ins.
        files: the model's files; every parameter of a part (`parts`) is in them under its own name.
        scratch: a folder on disk for hidden states.
    """

    kind = "disk"

    def __init__(self, model: nn.Module, files: WeightFiles, scratch: Path):
        super().__init__()
        self._files, self._scratch = files, scratch
        self._parts: dict[nn.Module, dict[str, nn.Parameter]] = dict(parts(model))
        self._writes: dict[nn.Module, Callable[[], None]] = {}
        self._out: set[nn.Module] = set()
        for part in self._parts:
            self._put_back(part)

    @contextmanager
    def resident(self, block: nn.Module) -> Iterator[None]:
        """As the store in memory.

        Raises:
            SDSError: a file has changed or cannot be read, or a weight is not a number.
        """
        if block not in self._parts or block in self._out:
            yield
            return
        self._out.add(block)
        try:
            self._fetch(block)
            if block in self._writes:
                self._writes[block]()
            yield
        finally:
            self._put_back(block)
            self._out.remove(block)

    def _fetch(self, block: nn.Module) -> None:
        parameters = self._parts[block]
        with torch.inference_mode(False):  # a parameter cannot hold an inference tensor
            for name, tensor in self._files.read(parameters):
                parameters[name].data = tensor.to(parameters[name].dtype)

    def _put_back(self, block: nn.Module) -> None:
        for parameter in self._parts[block].values():
            parameter.data = stand_in(parameter)
        return_freed_memory()

    def reapply_on_load(self, block: nn.Module, write: Callable[[], None]) -> None:
        self._writes[block] = write

    def change(self, block: nn.Module, write: Callable[[], None]) -> None:
        self.reapply_on_load(block, write)

    def keep_dense(self, parameters: Iterable[nn.Parameter]) -> None:
        """Nothing is to be done: the files are the dense weights."""

    def restore_dense(self) -> None:
        self._writes.clear()

    @contextmanager
    def visited(self) -> Iterator[None]:
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
            for block in self._parts:
                stack.callback(block.register_forward_pre_hook(begin).remove)
                stack.callback(block.register_forward_hook(end).remove)
            yield

    def hidden_states(self, tensors: Iterable[Tensor] = ()) -> list[Tensor] | HiddenStateFile:
        return HiddenStateFile(self._scratch, tensors)

    def save(self, model: PreTrainedModel, folder: Path) -> None:
        """One file for the frame and one for each block, so that never more than a block is in memory."""
        folder.mkdir(parents=True)
        at_rest = {name for parameters in self._parts.values() for name in parameters}
        frame = {
            name: tensor for name, tensor in model.state_dict().items() if name in self._files.shapes.keys() - at_rest
        }
        places, size, count = dict[str, str](), 0, 1 + len(self._parts)

        def write(number: int, tensors: dict[str, Tensor]) -> None:
            nonlocal size
            file = f"model-{number:05}-of-{count:05}.safetensors"
            save_file(tensors, folder / file, metadata={"format": "pt"})
            places.update(dict.fromkeys(tensors, file))
            size += sum(tensor.nbytes for tensor in tensors.values())

        write(1, frame)
        for number, (block, parameters) in enumerate(self._parts.items(), start=2):
            with self.resident(block):
                write(number, {name: parameter.data for name, parameter in parameters.items()})
        index = {"metadata": {"total_size": size}, "weight_map": places}
        (folder / INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")
        model.config.save_pretrained(folder)
        if model.generation_config is not None:
            model.generation_config.save_pretrained(folder)


def parts(model: nn.Module) -> list[tuple[nn.Module, dict[str, nn.Parameter]]]:
    """What decoder blocks can be, the items of the outermost `ModuleList`s, with their parameters by full name."""
    names = {module: name for name, module in model.named_modules()}
    lists = [module for module in names if isinstance(module, nn.ModuleList)]
    inner = {m for outer in lists for item in outer for m in item.modules()}
    return [
        (item, {f"{names[item]}.{name}": parameter for name, parameter in item.named_parameters()})
        for outer in lists
        if outer not in inner
        for item in outer
    ]


def stand_in(parameter: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor like the parameter that takes no memory: not a number throughout, so that no use goes unnoticed."""
    return torch.full((), torch.nan, dtype=dtype or parameter.dtype).expand(parameter.shape)


def load_non_block_weights(
    skeleton: PreTrainedModel, config: PreTrainedConfig, files: WeightFiles, dtype: str
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The model with all its weights but those of its blocks, built and checked by transformers itself.

    Args:
        skeleton: the same model on `meta`.
        config: its configuration.
        files: its files.
        dtype: its precision, `auto` for its own.

    Returns:
        The model, stand-ins in its blocks, and the loader's report.

    Raises:
        SDSError: blocks share weights, or the files do not hold one tensor for every parameter of a block.
    """
    at_rest: dict[str, nn.Parameter] = {}
    for _, parameters in parts(skeleton):
        at_rest |= parameters
    shapes = {name: tuple(parameter.shape) for name, parameter in at_rest.items()}
    odd = [name for name, shape in shapes.items() if files.shapes.get(name) != shape]
    shared = len({id(parameter) for parameter in at_rest.values()}) < len(at_rest)
    if odd or shared or hasattr(config, "quantization_config"):
        raise SDSError(
            f"the weights in {files.folder} are not stored one by one as the model uses them"
            + (f", first {odd[0]}" if odd else ""),
            cure="save the model again, or load it into memory: --weights memory",
        )
    if dtype == "auto" and config.dtype is None:
        _, first = next(files.read([next(iter(files.shapes))]))
        dtype = str(first.dtype).removeprefix("torch.")
    wanted: Any = config.dtype if dtype == "auto" else getattr(torch, dtype)
    weights = {name: stand_in(parameter, wanted) for name, parameter in at_rest.items()}
    weights |= files.read(name for name in files.shapes if name not in at_rest)
    loading: Any = type(skeleton).from_pretrained(
        None, config=config, state_dict=weights, dtype=wanted, output_loading_info=True
    )
    model, report = loading
    if (files.folder / GENERATION_CONFIG_NAME).is_file():
        model.generation_config = GenerationConfig.from_pretrained(files.folder)
    return model, report
