"""HTML reports: results, learning curves, diagnosis and features of a run in one file.

::

    run_data          the data of a finished run
    drawing, charts   figures in the page's colours, and the kinds of figures
    learning, predictions, examples, costs, repeat    contents of the sections
    page, templates/  the environment of jinja2, and the templates of the pages
    single, several   the report of one run, the comparison of several
"""

from .several import compare_reports
from .single import REPORT, cautions, write_report

__all__ = ["REPORT", "cautions", "compare_reports", "write_report"]
