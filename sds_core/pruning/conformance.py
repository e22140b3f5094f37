"""What every pruner promises, as checks that it passes or fails: one source for tests and for pruners of one's own."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.pattern import NM, Pattern, parse_pattern
from sds_core.pruning.registry import Pruner

PATTERNS = ("2:4", "1:4", "4:8", "50%", "29%", "0")
PRECISIONS = (torch.float64, torch.float32)
WIDE = 136
"""Columns of a layer that is wider than the 128 columns that SparseGPT takes together."""
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Outcome:
    """What came of one check."""

    check: str
    """Its name."""
    came: str | None
    """What came instead of what was expected; None if the check is passed."""
    error: Exception | None = None
    """What the pruner raised, if that was it."""

    @property
    def told(self) -> str:
        """A sentence: what was expected, and what came."""
        expected = f"expected {CHECKS[self.check].claim}"
        return f"{expected}; came {self.came}" if self.came else expected


class Bench:
    """One pruner, and small problems for it that lie on one device."""

    def __init__(self, pruner: Pruner, device: torch.device):
        self.pruner, self.device = pruner, device

    def problem(
        self,
        rows: int = 6,
        columns: int = 40,
        dead: Sequence[int] = (),
        dtype: torch.dtype = torch.float64,
        seed: int = 0,
    ) -> LayerProblem:
        """Gaussian weights, the same for every seed, on inputs that share sources, at scales far from each other."""
        generator = torch.Generator().manual_seed(columns)
        draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
        weight = draw(rows, columns)
        generator.manual_seed(1000 + seed)
        inputs = draw(columns, 1).exp() * (draw(columns, 20) @ draw(20, 200) + 2 * draw(columns, 200))
        inputs[list(dead)] = 0
        gram = inputs @ inputs.T / inputs.shape[1]
        return LayerProblem.from_gram(weight.to(self.device, dtype), gram.to(self.device, dtype))

    def solve(self, problem: LayerProblem, text: str) -> Pruned:
        """The pruner's result for a pattern."""
        return self.pruner.solve(problem, parse_pattern(text))

    def unsound(self, problem: LayerProblem, *texts: str) -> Iterator[str]:
        """What is wrong with its results on a problem out of the ordinary."""
        for text in texts:
            if broken := broken_promise(self.solve(problem, text), problem, parse_pattern(text)):
                yield f"{broken.came} ({broken.check}; {_case(problem, text)})"

    @cached_property
    def results(self) -> list[tuple[LayerProblem, str, Pruned]]:
        """Ordinary problems, patterns and what the pruner makes of them."""
        narrow = [(self.problem(dtype=dtype), text) for dtype in PRECISIONS for text in PATTERNS]
        wide = [(self.problem(3, WIDE, dtype=torch.float32), text) for text in ("2:4", "50%")]
        return [(problem, text, self.solve(problem, text)) for problem, text in narrow + wide]


@dataclass(frozen=True)
class Check:
    """One promise, and how to find where it is broken."""

    claim: str
    """What is expected, as it goes on after “expected”."""
    find: Callable[[Bench], Iterator[str]]
    """What came instead, for every case that breaks the promise."""


def outcomes(pruner: Pruner, device: torch.device = CPU) -> Iterator[Outcome]:
    """What comes of every check on small problems that lie on `device`, in the order of `CHECKS`.

    Ends early if it makes no sense to go on: without a mask and a weight nothing can be looked at, and where ordinary
    results are unsound, nothing is learnt from others.
    """
    bench, failed = Bench(pruner, device), list[str]()
    for name, one in CHECKS.items():
        if failed and (failed[0] in ("result", "precision") or name not in RESULTS):
            return
        try:
            outcome = Outcome(name, next(one.find(bench), None))
        except Exception as raised:  # noqa: BLE001, whatever a pruner raises is a finding
            outcome = Outcome(name, f"{type(raised).__name__}: {raised}", raised)
        failed += [name] if outcome.came else []
        yield outcome


def check(pruner: Pruner, device: torch.device = CPU) -> list[Outcome]:
    """The checks that a pruner fails; none for one that conforms."""
    return [outcome for outcome in outcomes(pruner, device) if outcome.came]


def broken_promise(pruned: Pruned, problem: LayerProblem, pattern: Pattern) -> Outcome | None:
    """What is wrong with one result, whatever the problem: None if it may be used."""
    for name, fault in RESULTS.items():
        if came := fault(pruned, problem, pattern):
            return Outcome(name, came)
    return None


def _result(pruned: Pruned, problem: LayerProblem, pattern: Pattern) -> str | None:
    if not isinstance(pruned, Pruned):
        return f"a {type(pruned).__name__}"
    for name, value in vars(pruned).items():
        if not isinstance(value, Tensor):
            return f"a {name} that is a {type(value).__name__}"
        if value.shape != problem.weight.shape or value.device != problem.weight.device:
            return f"a {name} of shape {_size(value)} on {value.device} for {_size(problem.weight)}"
    return None


def _precision(pruned: Pruned, problem: LayerProblem, pattern: Pattern) -> str | None:
    if (pruned.weight.dtype, pruned.mask.dtype) == (problem.weight.dtype, torch.bool):
        return None
    return f"{_short(pruned.weight.dtype)} and {_short(pruned.mask.dtype)} for {_short(problem.weight.dtype)}"


def _finite(pruned: Pruned, problem: LayerProblem, pattern: Pattern) -> str | None:
    count = int((~pruned.weight.isfinite()).sum())
    return f"{count} that are none" if count else None


def _zeros(pruned: Pruned, problem: LayerProblem, pattern: Pattern) -> str | None:
    count = int((pruned.weight[~pruned.mask] != 0).sum())
    return f"{count} pruned weights that are not 0" if count else None


def _count(pruned: Pruned, problem: LayerProblem, pattern: Pattern) -> str | None:
    if isinstance(pattern, NM):
        kept = pruned.mask.reshape(-1, pattern.group).sum(dim=1)
        wrong = kept[kept != pattern.keep]
        return f"{int(wrong[0])} in {len(wrong)} of {len(kept)} groups of {pattern}" if len(wrong) else None
    exact = lambda part: int((~part).sum()) == int(pattern.ratio * part.numel())
    if any(all(map(exact, parts)) for parts in ([pruned.mask], pruned.mask, pruned.mask.split(128, dim=1))):
        return None
    return f"{int((~pruned.mask).sum())} of {pruned.mask.numel()} pruned at {pattern}"


RESULTS = {"result": _result, "precision": _precision, "finite": _finite, "zeros": _zeros, "count": _count}
"""What is wrong with one result."""


def _in_every_result(name: str) -> Callable[[Bench], Iterator[str]]:
    """The find of a check that one look at any result decides."""

    def find(bench: Bench) -> Iterator[str]:
        for problem, text, pruned in bench.results:
            if came := RESULTS[name](pruned, problem, parse_pattern(text)):
                yield f"{came} ({_case(problem, text)})"

    return find


def _unchanged(bench: Bench) -> Iterator[str]:
    for text in PATTERNS:
        problem = bench.problem(dead=[3])
        weight, gram = problem.weight.clone(), problem.gram.matrix.clone()
        bench.solve(problem, text)
        if not torch.equal(problem.weight, weight):
            yield f"another weight in it ({text})"
        if not torch.equal(problem.gram.matrix, gram):
            yield f"another Gram matrix in it ({text})"


def _repeatable(bench: Bench) -> Iterator[str]:
    for problem, text, first in bench.results:
        if problem.weight.dtype != torch.float32:
            continue  # once is enough
        second = bench.solve(LayerProblem.from_gram(problem.weight, problem.gram.matrix), text)
        if not torch.equal(first.mask, second.mask):
            yield f"another mask the second time ({text})"
        if not torch.equal(first.weight, second.weight):
            yield f"other weights the second time ({text})"


def _dead_first(bench: Bench) -> Iterator[str]:
    dead = [1, 6, 7, 20, 38]
    for text in ("2:4", "50%"):
        masks = [bench.solve(bench.problem(seed=seed), text).mask for seed in range(2)]
        if torch.equal(*masks):
            continue  # it does not look at inputs, as magnitude does not, and cannot know
        problem = bench.problem(dead=dead)
        problem.weight[:, dead] *= 100
        if kept := int(bench.solve(problem, text).mask[:, dead].sum()):
            yield f"{kept} weights kept that nothing ever flows through ({text})"


def _few_alive(bench: Bench) -> Iterator[str]:
    return bench.unsound(bench.problem(dead=range(4, 40)), "2:4", "25%")


def _thin(bench: Bench) -> Iterator[str]:
    for rows, columns in ((1, 8), (8, 1), (1, 1), (1, WIDE)):
        yield from bench.unsound(bench.problem(rows, columns), "50%")
    yield from bench.unsound(bench.problem(1, 8), "2:4")


def _nothing_seen(bench: Bench) -> Iterator[str]:
    for dtype in PRECISIONS:
        seen = bench.problem(4, 16, dtype=dtype)
        problem = LayerProblem.from_gram(seen.weight, torch.zeros_like(seen.gram.matrix))
        yield from bench.unsound(problem, "2:4", "50%")


def _nothing_to_prune(bench: Bench) -> Iterator[str]:
    problem = bench.problem()
    pruned = bench.solve(problem, "0")
    if lost := int((~pruned.mask).sum()):
        yield f"{lost} pruned"
    if moved := int((pruned.weight != problem.weight).sum()):
        yield f"{moved} that differ"


def _scores(bench: Bench) -> Iterator[str]:
    tell = getattr(bench.pruner, "scores", None)
    if tell is None:
        return
    problem = bench.problem(6, 8)
    scores = tell(problem)
    if not isinstance(scores, Tensor) or scores.shape != problem.weight.shape or not scores.isfinite().all():
        yield f"a {type(scores).__name__} that is not one finite number a weight"
        return
    mask, scores = bench.solve(problem, "2:4").mask.reshape(-1, 4), scores.reshape(-1, 4)
    lowest = scores.masked_fill(~mask, torch.inf).amin(dim=1)
    highest = scores.masked_fill(mask, -torch.inf).amax(dim=1)
    if wrong := int((lowest < highest).sum()):
        yield f"another mask in {wrong} of {len(mask)} groups of 2:4"


def _case(problem: LayerProblem, pattern: str) -> str:
    return f"{_size(problem.weight)} weights in {_short(problem.weight.dtype)} at {pattern}"


def _size(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape))


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


CHECKS: dict[str, Check] = {
    "result": Check(
        "a Pruned whose weight and mask are tensors of the layer's shape, where the layer is",
        _in_every_result("result"),
    ),
    "precision": Check("a weight in the layer's precision and a mask of bool", _in_every_result("precision")),
    "finite": Check("finite numbers", _in_every_result("finite")),
    "zeros": Check("0 wherever the mask prunes", _in_every_result("zeros")),
    "count": Check(
        "exactly as many kept as the pattern says, in each group of N:M, or else in the layer, each row or each 128 "
        "columns",
        _in_every_result("count"),
    ),
    "problem": Check("the problem left as it was", _unchanged),
    "repeatable": Check("the same bits for the same problem", _repeatable),
    "dead inputs": Check("dead inputs pruned first, by a pruner that looks at inputs", _dead_first),
    "few inputs": Check("a sound result though most inputs are dead", _few_alive),
    "thin layers": Check("a sound result for a layer of one row or one column", _thin),
    "no inputs": Check("a sound result for a layer that never saw an input", _nothing_seen),
    "nothing to prune": Check("the same weights where the ratio is 0", _nothing_to_prune),
    "scores": Check("the mask to keep the highest of the scores that the pruner tells, if it tells any", _scores),
}
"""Every check by its name, in the order in which they are made."""
