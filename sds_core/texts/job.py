"""Run a text query: token losses and continuations by a dense model and by the models of finished runs.

A query has its own folder in the user's cache, named after a digest of everything that the result depends on: the same
query finds its result, or the process that computes it. Besides the files of a `JobFolder` there is `query.json`, the
query itself.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NoReturn

from torch import Tensor

from sds_core.comparison.outcomes import outcome_of
from sds_core.errors import SDSError
from sds_core.files import cache_folder, make_folder
from sds_core.models.code_identity import code_identity
from sds_core.models.device import allow_fast_matmul, machine, pick_device, use_threads
from sds_core.models.exclude import exclude_layers
from sds_core.models.load import LoadedModel, load_model
from sds_core.models.prompt import continuation, pieces, token_ids, token_losses
from sds_core.models.structure import find_blocks
from sds_core.runs import lock, typed_json
from sds_core.runs.config import meaning
from sds_core.runs.device_queue import device_to_itself
from sds_core.runs.event_log import LogWriter
from sds_core.runs.events import JobFinished, ModelLoaded, TextModelLoading, TextReadingStarted
from sds_core.runs.job_folder import CANCEL, JobFolder
from sds_core.runs.names import called
from sds_core.runs.process import start_process
from sds_core.runs.pruned_model import require_weights, take_weights
from sds_core.runs.run_folder import Run, every_run, open_run, root
from sds_core.runs.worker import attempt, refuse_cancelled
from sds_core.texts.query import MOST_RUNS, PromptReading, TextQuery, TextReading, TextResult

DENSE = "dense"


def askable() -> list[Run]:
    """Return the finished runs whose weights are kept, oldest first; broken runs are reported elsewhere."""
    found = []
    for run in reversed(list(every_run())):
        try:
            _, result = run.config, run.result()
        except SDSError:
            continue
        if result and run.checkpoint(result.last, 0).exists():
            found.append(run)
    return found


def usual_runs(runs: list[Run]) -> list[Run]:
    """Return the newest runs that one query can be about, oldest first, as many as it may name.

    Args:
        runs: askable ones, oldest first.
    """
    found: list[Run] = []
    for run in reversed(runs):
        with suppress(SDSError):  # who chooses it reads why it cannot be queried
            _weights(run)
            newest = found[-1] if found else run
            if _same_model(run.model(), newest.model()) and run.config.exclude == newest.config.exclude:
                found.insert(0, run)
        if len(found) == MOST_RUNS:
            break
    return found


@dataclass(frozen=True)
class TextJob(JobFolder):
    """A query's folder."""

    @classmethod
    def of(cls, query: TextQuery) -> TextJob:
        """Return the folder of a query, whether it exists or not.

        Raises:
            SDSError: a run does not exist, is not finished, has no weights, or pruned another model or excluded other
                layers than the first one.
        """
        runs = [open_run(run) for run in query.runs]
        weights = sorted((run.id, _weights(run)) for run in runs)  # in any order
        models = [run.model() for run in runs]
        for run, model in zip(runs, models, strict=True):
            if not _same_model(model, models[0]):
                _refuse(f"run {run.id} pruned another model than run {runs[0].id}")
            # Weights of a layer that only one of them prunes would stay in the model of the other.
            if meaning("exclude", run.config.exclude) != meaning("exclude", runs[0].config.exclude):
                _refuse(f"run {run.id} excluded other layers than run {runs[0].id}")
        identity = (
            *code_identity(models[0].families),
            machine(),
            sorted({(run.config.device, run.config.threads) for run in runs}),
            query.prompts,
            query.tokens,
            query.temperature,
            query.sampling_seed,
            (models[0].dtype, sorted(models[0].sha256.items())),
            weights,
        )
        return cls(_folder(hashlib.sha256(repr(identity).encode()).hexdigest()[:24]))

    def result(self) -> TextResult | None:
        """Return the result, or None while there is none.

        Raises:
            SDSError: the file is broken.
        """
        try:
            return typed_json.parse(TextResult, self.result_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise SDSError(f"the result in {self.folder} is broken: {error}", cure="delete that folder") from error

    def launch(self, query: TextQuery) -> None:
        """Start a process that answers the query, unless one is running or the result exists.

        Raises:
            SDSError: the disk is full.
        """
        make_folder(self.folder)
        descriptor = lock.take(self.lock_path)
        if descriptor is None:
            return
        try:
            if not self.result_path.exists():
                (self.folder / CANCEL).unlink(missing_ok=True)
                typed_json.write(self.folder / "query.json", query)
                start_process(["result", self.id], [descriptor], self.errors, root(), stay=True)
        finally:
            os.close(descriptor)


def _refuse(why: str) -> NoReturn:
    raise SDSError(why, cure="query them one at a time")


def _folder(key: str) -> Path:
    return cache_folder() / "answers" / f"text-{key}"


def _weights(run: Run) -> str:
    """Return the digest of a run's last weights.

    Raises:
        SDSError: it is not finished, or they are gone.
    """
    require_weights(run)
    return run.stage_digest(run.finished_result().last)


def _same_model(one: ModelLoaded, other: ModelLoaded) -> bool:
    """Whether two runs pruned the same files at the same precision; one of them may have met more files."""
    both = one.sha256.keys() & other.sha256.keys()
    return one.dtype == other.dtype and all(one.sha256[name] == other.sha256[name] for name in both)


def work(name: str, descriptor: int) -> int:
    """Answer the query in the named folder, whose inherited lock this is; return the exit code."""
    job = TextJob(_folder(name.removeprefix("text-")))
    assert job.id == name
    os.set_inheritable(descriptor, False)
    launched = lock.owner(job.lock_path)
    queued_at = launched.since if launched else time.time()
    lock.note_owner(descriptor)

    def do(log: LogWriter) -> None:
        query = typed_json.parse(TextQuery, (job.folder / "query.json").read_text(encoding="utf-8"))
        config = open_run(query.runs[0]).config
        with device_to_itself(config.device, job.id, queued_at, log, lambda: job.cancel_requested):
            _stop_if_cancelled(job)
            use_threads(config.threads)  # as for a run: a process that has stayed keeps those of its last job
            allow_fast_matmul(pick_device(config.device))
            result = _ask(query, job, log)
        typed_json.write(job.result_path, result)
        log.append(JobFinished())

    try:
        return int(not attempt(job, do))
    finally:
        os.close(descriptor)


def _ask(query: TextQuery, job: TextJob, log: LogWriter) -> TextResult:
    """Query one model after the other: load the dense one, then write each run's weights over the previous ones."""
    runs = [open_run(run) for run in query.runs]
    config = runs[0].config
    log.append(TextModelLoading(model=config.model))
    loaded = load_model(config.model, config.dtype)
    blocks = exclude_layers(find_blocks(loaded.model), config.exclude.split()).blocks
    prompts = [token_ids(loaded, prompt, query.tokens) for prompt in query.prompts]
    loaded.model.to(pick_device(config.device))  # type: ignore[arg-type]
    readings = list[TextReading]()
    for run, identity in [(None, _dense()), *zip(runs, _identities(runs), strict=True)]:
        log.append(TextReadingStarted(name=identity.name, model=len(readings), of=1 + len(runs)))
        if run:
            take_weights(run, loaded, blocks)
        read = tuple(_read(loaded, ids, query, job) for ids in prompts)
        readings.append(replace(identity, prompts=read))
    return TextResult(
        model=config.model,
        prompts=query.prompts,
        tokens=query.tokens,
        temperature=query.temperature,
        sampling_seed=query.sampling_seed,
        pieces=tuple(tuple(pieces(loaded.tokenizer, ids.tolist())) for ids in prompts),
        readings=tuple(readings),
    )


def _dense() -> TextReading:
    return TextReading(name=DENSE, weights="", configuration=DENSE, seed=0, pruned=False, prompts=())


def _identities(runs: list[Run]) -> list[TextReading]:
    """Return a reading without prompts for each run, to be filled in."""
    outcomes = [outcome for run in runs if (outcome := outcome_of(run))]
    assert len(outcomes) == len(runs), "only finished runs are queried"
    first = {outcome.configuration: outcome for outcome in reversed(outcomes)}
    names = called({run.id: run.config for run in runs})
    titles = called({outcome.run: replace(outcome.config, seed=0) for outcome in first.values()})
    return [
        TextReading(
            name=names[run.id],
            weights=_weights(run),
            configuration=titles[first[outcome.configuration].run],
            kind=outcome.kind,
            seed=outcome.made.seed,
            pruned=outcome.stage != "redense",
            distilled=outcome.stage == "distilled",
            prompts=(),
        )
        for run, outcome in zip(runs, outcomes, strict=True)
    ]


def _read(loaded: LoadedModel, ids: Tensor, query: TextQuery, job: TextJob) -> PromptReading:
    """Read one prompt and continue it greedily and, given a temperature, by sampling."""
    return PromptReading(
        losses=tuple(token_losses(loaded.model, ids)),
        continuation=_continued(loaded, ids, query, job, None),
        sampled=_continued(loaded, ids, query, job, query.temperature) if query.temperature is not None else None,
    )


def _continued(
    loaded: LoadedModel, ids: Tensor, query: TextQuery, job: TextJob, temperature: float | None
) -> tuple[str, ...]:
    """Return the continuation as pieces of text."""
    after_token = partial(_stop_if_cancelled, job)
    new = continuation(loaded.model, ids, query.tokens, temperature, query.sampling_seed, after_token)
    return tuple(pieces(loaded.tokenizer, ids.tolist() + new)[len(ids) :])


def _stop_if_cancelled(job: TextJob) -> None:
    refuse_cancelled(job, "cancelled", cure="ask again to start over")
