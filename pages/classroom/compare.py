"""The teacher's runs beside each other, to look at."""

from pages.ui import compare_page, layout

layout.compact("Compare: which is better here, and is it sure?")
compare_page.show("The teacher shows no runs at the moment.")
