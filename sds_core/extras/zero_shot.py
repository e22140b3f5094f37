"""Accuracy on multiple-choice and cloze tasks, through the LM Evaluation Harness (an optional extra)."""

import math
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from sds_core.errors import SDSError, first_line
from sds_core.files import write_json
from sds_core.models.device import pick_device
from sds_core.models.free_memory import out_of_memory
from sds_core.models.load import LoadedModel, load_model
from sds_core.runs import typed_json
from sds_core.runs.pruned_model import pruned_model, refuse_other_model, require_weights
from sds_core.runs.run_folder import Run

PAPER_TASKS = ("copa", "lambada_openai", "openbookqa", "piqa", "rte", "storycloze_2018", "winogrande")
"""The seven of Li et al. (arXiv 2408.10473)."""
SCORES = "zero-shot.json"
"""The file in a run's folder."""


@dataclass(frozen=True)
class Score:
    """One model's answers to one task."""

    model: str
    """`dense`, or a run's id."""
    task: str
    right: tuple[float, ...]
    """1 where an answer was right, else 0, question by question."""
    limit: int | None = None
    """Maximum number of questions asked; None for no limit."""

    @property
    def accuracy(self) -> float:
        return statistics.fmean(self.right)

    def above(self, other: "Score") -> tuple[float, float]:
        """Difference in accuracy to another model on the same questions, and its paired standard error."""
        assert self.task == other.task and len(self.right) == len(other.right)
        return _mean_and_error([a - b for a, b in zip(self.right, other.right, strict=True)])


@dataclass(frozen=True)
class _Stored:
    """What a run's file holds."""

    scores: tuple[Score, ...]
    limit: int | None = None
    """Of all the scores, in a file of an earlier version."""


def zero_shot(runs: list[Run], tasks: list[str], task_folder: str | None, limit: int | None) -> Iterator[Score]:
    """Score the dense model and every run, task by task; each run's scores are stored in its `zero-shot.json`.

    Earlier scores of other tasks, or with another limit, stay there.

    Args:
        runs: finished runs of one model, their weights kept.
        tasks: names of the harness's tasks.
        task_folder: a folder with the user's task files; Python code in them is executed.
        limit: maximum number of questions per task.

    Raises:
        SDSError: the harness is not installed, a task or its data cannot be loaded, a run is not finished or has no
            weights, its earlier scores are broken, or the runs' models differ; what can be known beforehand is
            refused before anything is scored.
    """
    if limit is not None and limit < 1:
        raise SDSError("no question to ask", got=f"--limit {limit}", allowed="1 or more")
    if len({(run.config.model, run.config.dtype) for run in runs}) != 1:
        raise SDSError("these runs pruned different models, so no questions can be paired", cure="take them one by one")
    inspected = [run for run in runs if run.config.checkpoint]
    for run in runs:
        if run in inspected:
            run.finished_result()
        else:
            require_weights(run)
        _stored(run)
    harness = _Harness(task_folder)
    harness.require(tasks)
    for run in inspected:
        pruned_model(run)  # whether its files are the ones inspected is known once they are loaded
    config = runs[0].config
    loaded = load_model(config.model, config.dtype)
    for run in runs:
        refuse_other_model(run, loaded)
    dense = list(harness.ask(loaded, "dense", config.device, tasks, limit))
    del loaded
    yield from dense
    for run in runs:
        mine = list(harness.ask(pruned_model(run), run.id, config.device, tasks, limit))
        yield from mine  # before the disk may be full
        _store(run, [*dense, *mine])


def _store(run: Run, new: list[Score]) -> None:
    """Write scores to a run's file, in place of those of the same tasks and limit."""
    again = {(score.task, score.limit) for score in new}
    kept = [score for score in _stored(run) if (score.task, score.limit) not in again]
    write_json(run.folder / SCORES, {"scores": [asdict(score) for score in (*kept, *new)]})


def _stored(run: Run) -> list[Score]:
    """Return the scores in a run's file; none where there is no file.

    Raises:
        SDSError: the file is broken.
    """
    path = run.folder / SCORES
    try:
        stored = typed_json.parse(_Stored, path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise SDSError(f"the earlier scores of run {run.id} are broken: {error}", cure=f"move {path} away") from error
    return [replace(score, limit=score.limit or stored.limit) for score in stored.scores]


def table(scores: list[Score]) -> str:
    """Return a line per task and one for their mean: accuracy in per cent, and its difference to the dense model's ±
    paired error.

    Every model after the second is also compared to the second, which is the base pruner's if that is named first.
    """
    models = list(dict.fromkeys(score.model for score in scores))
    by_task = {score.task: {s.model: s for s in scores if s.task == score.task} for score in scores}
    lines = [f"{'task':<20}" + "".join(f"{model:<36}" for model in models)]
    for task, answers in by_task.items():
        cells = [
            _cell(answers[model], [answers[other] for other in models[: min(n, 2)]]) for n, model in enumerate(models)
        ]
        lines.append(f"{task:<20}" + "".join(f"{cell:<36}" for cell in cells))
    means = [statistics.fmean(answers[model].accuracy for answers in by_task.values()) for model in models]
    lines.append(f"{'mean':<20}" + "".join(f"{100 * mean:<36.2f}" for mean in means))
    return "\n".join(line.rstrip() for line in lines)


def _cell(score: Score, others: list[Score]) -> str:
    differences = [score.above(other) for other in others]
    compared = ", ".join(f"{100 * mean:+.2f} ± {100 * error:.2f}" for mean, error in differences)
    return f"{100 * score.accuracy:.2f}" + (f" ({compared})" if compared else "")


def _mean_and_error(values: list[float]) -> tuple[float, float]:
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return statistics.fmean(values), error


class _Harness:
    """The LM Evaluation Harness, imported on use: it is an optional extra."""

    def __init__(self, task_folder: str | None):
        try:
            import lm_eval
            from lm_eval.models.huggingface import HFLM
            from lm_eval.tasks import TaskManager
        except ImportError:
            raise SDSError(
                "zero-shot tasks need the LM Evaluation Harness, which is not installed",
                cure="install it with: pip install lm-eval==0.4.13",
            ) from None
        self._evaluate, self._wrap = lm_eval.simple_evaluate, HFLM
        self._tasks = TaskManager(include_path=task_folder, include_defaults=True)

    def require(self, tasks: list[str]) -> None:
        """Refuse names that are no tasks.

        Raises:
            SDSError: one is unknown, or stands for several tasks.
        """
        if unknown := sorted(set(tasks) - set(self._tasks.all_tasks)):
            raise SDSError("unknown task", got=", ".join(unknown), cure="see: python -m lm_eval ls tasks")
        if several := sorted(set(tasks) - set(self._tasks.all_subtasks)):
            raise SDSError("a group of tasks, not a task", got=", ".join(several), cure="name its tasks one by one")

    def ask(self, loaded: LoadedModel, name: str, device: str, tasks: list[str], limit: int | None) -> Iterator[Score]:
        """Yield one model's scores on all tasks."""
        where = pick_device(device)
        try:
            on_device: Any = loaded.model.to(where)  # type: ignore[arg-type]
            model = self._wrap(on_device, tokenizer=loaded.tokenizer, device=str(where), batch_size=8)
            found: dict[str, Any] = self._evaluate(
                model, tasks=list(tasks), num_fewshot=0, limit=limit, bootstrap_iters=0, task_manager=self._tasks
            )
        except (OSError, ValueError, RuntimeError, MemoryError) as error:
            if full := out_of_memory(error):
                raise full from error
            if not isinstance(error, OSError | ValueError):
                raise
            raise SDSError(  # how `datasets` reports unavailable data
                f"the data of {', '.join(tasks)} cannot be loaded: {first_line(error)}",
                cure="check the network, or name a folder with tasks of your own: --task-folder",
            ) from error
        for task in tasks:
            answers = sorted(found["samples"][task], key=lambda answer: answer["doc_id"])
            if "acc" not in answers[0]:
                raise SDSError(f"task {task} is not scored by accuracy", allowed="tasks with the metric acc")
            yield Score(name, task, tuple(float(answer["acc"]) for answer in answers), limit)
