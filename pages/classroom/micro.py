"""Micro for a class."""

from pages.ui import layout, micro_page
from sds_core.pruning.registry import BUILT_IN

layout.compact(size=15)
micro_page.show(lambda: BUILT_IN)
