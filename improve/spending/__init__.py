"""What calls cost, may cost at most and will cost: prices, sums, the budget, estimates.

In come token counts and prompts, out go USD (None where a price is not known, never 0) and a budget's refusals.
Imports config and strategies; the budget counts what a journal tells it.
"""
