"""The rule-based expert behind `llm=offline`: no language model, and the LLM-free baseline of every study."""
