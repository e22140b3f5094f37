"""Layer lab: one real layer, and what every round of the dense phase does to it."""

from pages.ui import lab_page, layout

layout.routed()
lab_page.show(layout.load_pruners)
