"""A run as one HTML file: what it found, how it came to it, and what is wrong with it.

::

    read        a finished run as plain data
    evidence    numbers computed from it
    drawing     figures in the page's colours; charts: the kinds of them
    markup      pieces of HTML, escaped
    looks       colours of the models, figures as text
    verdict, learning, answered, examples, costs, repeat    the sections
    page, style what is around them
    single, several                                         the pages
"""

from .several import compare_reports
from .single import REPORT, write_report
from .verdict import cautions

__all__ = ["REPORT", "cautions", "compare_reports", "write_report"]
