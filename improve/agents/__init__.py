"""The six roles: what each is shown, how it is asked, and how its reply is read.

In come the brief of a run and what happened so far, out go plans, components, proposals and summaries as values; the
prompt sets under conf/prompts are rendered here alone. Imports the contract, models, spending and the record, nothing
that runs code.
"""
