"""How a source of text, or a part of it, is named: `SOURCE`, `SOURCE@0-50%` (of its tokens) or `SOURCE@0-40960`."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sds_core.errors import SDSError

if TYPE_CHECKING:
    from torch import Tensor

SELF = "self"
PYTHON_DOCS = "python-docs"
ALLOWED = f"{SELF}, {PYTHON_DOCS}, a .txt file, or hub:ID:CONFIG:SPLIT:COLUMN"


@dataclass(frozen=True)
class Part:
    """A source and the part of it that is meant."""

    source: str
    start: int = 0
    stop: int | None = None
    percent: bool = False

    @classmethod
    def parse(cls, text: str) -> "Part":
        """Read `SOURCE`, `SOURCE@A-B%` or `SOURCE@A-B`."""
        match = re.fullmatch(r"(?s)(.+?)(?:@(\d{1,12})-(\d{1,12})(%?))?", text.strip())
        if not match:
            raise SDSError("no text was named", got=text, allowed=ALLOWED)
        source, start, stop, percent = match.groups()
        if start is None:
            return cls(source)
        if int(start) >= int(stop) or (percent and int(stop) > 100):
            raise SDSError("not a part of a text", got=text, allowed="SOURCE@A-B% or SOURCE@A-B with A < B")
        return cls(source, int(start), int(stop), bool(percent))

    def cut(self, tokens: "Tensor") -> "Tensor":
        """This part of all tokens (n,).

        Raises:
            SDSError: it reaches beyond the end of the text.
        """
        if self.stop is None:
            return tokens
        if self.percent:
            return tokens[len(tokens) * self.start // 100 : len(tokens) * self.stop // 100]
        if self.stop > len(tokens):
            raise SDSError(
                f"the text {self.source} has no token {self.stop}", allowed=f"a part of its {len(tokens)} tokens"
            )
        return tokens[self.start : self.stop]
