"""Redirect old addresses of a layer, `/layer?run=…&cell=…`, to its details in the Studio."""

from __future__ import annotations

import streamlit as st

from pages.ui import layout, studio_details
from sds_core.errors import SDSError
from sds_core.runs.run_folder import open_run

layout.routed()

try:
    address = studio_details.address(open_run(st.query_params.get("run", "")), st.query_params.get("cell", ""))
except SDSError as error:
    layout.refuse(error)
    st.page_link(
        "pages/studio.py", label="To the Studio", icon=":material/arrow_forward:", query_params=layout.onward({})
    )
else:
    st.switch_page("pages/studio.py", query_params=layout.onward(address))
