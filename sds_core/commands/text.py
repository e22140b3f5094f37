"""The command `text`: prompts through the dense model and finished runs."""

import argparse

from sds_core.commands.follow import follow_text
from sds_core.errors import SDSError
from sds_core.files import make_folder, new_file
from sds_core.runs import typed_json
from sds_core.runs.progress import progress
from sds_core.texts.judgement import table
from sds_core.texts.query import TextQuery, TextResult


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parser of `text`."""
    text = commands.add_parser("text", help="run prompts through finished runs: token losses and continuations")
    text.add_argument("runs", nargs="+", metavar="RUN", help="finished runs of one model that kept their weights")
    text.add_argument(
        "--prompt",
        dest="prompts",
        action="append",
        required=True,
        help="a text that each model continues, without chat template; repeat it for several",
    )
    text.add_argument(
        "--tokens", type=int, default=TextQuery.tokens, help="at most this many new tokens each (default: %(default)s)"
    )
    text.add_argument("--temperature", type=float, help="also sample a continuation at this temperature")
    seed = TextQuery.sampling_seed
    text.add_argument("--sampling-seed", type=int, default=seed, help="seed of the sampling (default: %(default)s)")
    text.add_argument("--out", metavar="FILE.json", help="also write the result to this file")
    text.set_defaults(do=_text)


def _text(options: argparse.Namespace) -> int:
    query = TextQuery(
        runs=tuple(options.runs),
        prompts=tuple(options.prompts),
        tokens=options.tokens,
        temperature=options.temperature,
        sampling_seed=options.sampling_seed,
    )
    out = new_file(options.out) if options.out else None
    if out:
        make_folder(out.parent)
    result = ask(query)
    if out:
        typed_json.write(out, result)
    print(table(result))
    return 0


def ask(query: TextQuery) -> TextResult:
    """Answer a query in a separate process, or return the stored result; Ctrl-C cancels.

    Raises:
        SDSError: a run cannot be queried, or the process failed.
    """
    from sds_core.texts.job import TextJob

    job = TextJob.of(query)
    try:
        job.launch(query)
        follow_text(job)
    except KeyboardInterrupt:
        job.cancel()
        raise
    result = job.result()
    if result is None:
        raise SDSError(
            progress(job.log.read()).message or f"the process died, perhaps because memory ran out; see {job.errors}"
        )
    return result
