"""The class's votes: of this process, not of Streamlit's caches, which any visitor can have cleared."""

import os
from pathlib import Path

from sds_core.lesson.votes import FILE, VARIABLE, Ballot

FOLDER = Path(os.environ[VARIABLE])
"""The class's folder."""
BALLOT = Ballot(FOLDER / FILE)
