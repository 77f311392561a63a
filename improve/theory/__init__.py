"""The paper's Theorem 3.1, Lemma 3.2 and token cost model (section 3.1): stated, checked, simulated, fitted.

In come journals, out go fitted constants with intervals, tables and figures. Imports the record and nothing that
carries out a run; importing it imports nothing heavy.
"""
