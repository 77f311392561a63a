"""What runs on the far side of a start: the guard of tiers T1 and T0, the kernel interfaces that it needs, and the
self-check. Standard library only and relative imports only, so that a bare interpreter starts it in milliseconds.
"""
