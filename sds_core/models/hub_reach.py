"""Whether the hub can be reached at all, asked once and for seconds: its client would wait for minutes."""

import threading
import time
import urllib.error
import urllib.request

from huggingface_hub import constants

PATIENCE = 2.0
"""Seconds within which the hub must have said anything."""
FRESH = 30.0
"""Seconds for which an answer holds."""

_asked: dict[str, tuple[float, bool]] = {}


def hub_reachable() -> bool:
    """Whether the hub answers, whatever it says; a name that is looked up without end counts as silence."""
    address = constants.ENDPOINT
    if constants.HF_HUB_OFFLINE:
        return False
    when, known = _asked.get(address, (-FRESH, False))
    if time.monotonic() - when > FRESH:
        known = _answers(address)
        _asked[address] = (time.monotonic(), known)
    return known


def _answers(address: str) -> bool:
    found = threading.Event()

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=PATIENCE).close()
        except urllib.error.HTTPError:
            found.set()  # an answer, too
        except (OSError, ValueError):
            return
        found.set()

    # In a thread of its own, for a timeout does not hold while a name is looked up.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PATIENCE)
    return found.is_set()
