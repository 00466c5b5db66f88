"""A run as one HTML file: what it found, how it came to it, and what is wrong with it.

::

    run_data    reads a finished run
    drawing     figures in the page's colours; charts: the kinds of them
    learning, predictions, examples, costs, repeat    what the sections show
    page        jinja2's environment; templates/: the sections in words
    single, several                                   the pages
"""

from .several import compare_reports
from .single import REPORT, cautions, write_report

__all__ = ["REPORT", "cautions", "compare_reports", "write_report"]
