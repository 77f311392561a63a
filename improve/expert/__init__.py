"""The rule-based expert behind `llm=offline`: no language model, and the LLM-free baseline of every study.

In comes a prompt as every model gets it, out goes a reply that is parsed like any other. Imports the shared values
alone: it knows of a run what its prompt says.
"""
