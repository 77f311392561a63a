"""Pages, tables and figures of runs and studies, made from journals, and the files that they name, alone.

In comes the folder of a run or of many, out go HTML, Markdown, CSV and LaTeX. Imports the record and the words of the
display, nothing that carries out a run.
"""

from improve.report.page import write_run_page

__all__ = ["write_run_page"]
