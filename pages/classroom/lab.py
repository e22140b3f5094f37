"""The Layer lab for a class."""

from pages.ui import lab_page
from sds_core.pruning.registry import BUILT_IN

lab_page.show(lambda: BUILT_IN)
