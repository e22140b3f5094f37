"""Compare the teacher's runs, read-only."""

from pages.ui import compare_page, layout

layout.compact("Compare: which is better, and how certain is that?", above=8)
compare_page.show("The teacher shows no runs at the moment.")
