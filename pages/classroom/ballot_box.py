"""The votes of a class, kept by this process, not in Streamlit's caches, which any visitor can clear."""

import os
from pathlib import Path

from sds_core.lesson.votes import FILE, VARIABLE, Ballot

FOLDER = Path(os.environ[VARIABLE])
"""The class's folder."""
BALLOT = Ballot(FOLDER / FILE)
