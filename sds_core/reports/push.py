"""An exported model folder sent to the hub, with the token of the environment alone."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import get_session, validate_repo_id

from sds_core.errors import SDSError
from sds_core.models.hub_reach import hub_reachable

TOKEN = "HF_TOKEN"
"""The variable with the token; it is neither printed nor stored, and a login kept on the disk is not used."""


class Hub:
    """The hub, as the owner of a token may write to it."""

    def __init__(self, name: str):
        """Ask the hub whether the token counts, before anything large is made.

        Args:
            name: the repository to write to, such as me/pruned-model.

        Raises:
            SDSError: not a name, no token, or the hub refuses it or is out of reach.
        """
        try:
            validate_repo_id(name)
        except HFValidationError:
            raise SDSError("not a name on the hub", got=name, allowed="NAME or OWNER/NAME") from None
        token = os.environ.get(TOKEN, "").strip()
        if not token:
            raise SDSError(f"there is no token in {TOKEN}", cure="set it to a token of the hub that may write")
        if not hub_reachable():
            raise SDSError("the hub is out of reach", cure="look at the network, and try again")
        self.name = name
        self._hub = HfApi(token=token)
        with _refusals_explained(name):
            self._hub.whoami()

    def push(self, folder: Path) -> str:
        """Send a folder, into a new private repository unless there is one of this name; return its address.

        Raises:
            SDSError: the hub refuses it or is out of reach.
        """
        with _refusals_explained(self.name):
            made = self._hub.create_repo(self.name, private=True, exist_ok=True)
            self._hub.upload_folder(repo_id=made.repo_id, folder_path=folder, commit_message="Pruned with SDS Studio")
        return str(made)


def _connection_errors() -> tuple[type[Exception], ...]:
    """Return the errors of a connection: the hub's client has changed the library that it speaks HTTP with, twice."""
    library = sys.modules[type(get_session()).__module__.partition(".")[0]]
    return (OSError, getattr(library, "TransportError", OSError))


@contextmanager
def _refusals_explained(name: str) -> Iterator[None]:
    """Say what the hub's answer means; its own message may repeat what was sent."""
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            cure = f"set {TOKEN} to a token that may write there"
            raise SDSError(f"the hub does not let this token write to {name}", cure=cure) from None
        raise SDSError(f"the hub refused {name} (status {status})", cure="try again later") from None
    except _connection_errors():
        raise SDSError("the hub is out of reach", cure="look at the network, and try again") from None
