"""Pages that show runs, made from journals, and the files that they name, alone."""

from improve.report.page import write_run_page

__all__ = ["write_run_page"]
