"""The loop: a candidate is checked, trained, scored and judged, the better pipeline stays, the test comes last.

In come a strategy and the parts of a run, out go records in the journal and the best pipeline. Imports all rooms from
the record to judging; knows nothing of displays and reports.
"""
