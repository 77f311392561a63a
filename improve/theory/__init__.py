"""The paper's Theorem 3.1, Lemma 3.2 and token cost model (section 3.1): stated, checked, simulated, fitted.

Fits read journals and nothing else. Importing this package imports nothing heavy.
"""
