"""Redirect old addresses of a run, `/run?run=…`, to the Studio."""

from __future__ import annotations

import streamlit as st

from pages.ui import layout
from pages.ui.run_panel import MANAGED

layout.routed()

st.switch_page("pages/studio.py", query_params=layout.onward({MANAGED: st.query_params.get("run", "all")}))
