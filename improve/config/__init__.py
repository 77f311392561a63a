"""The configuration: its typed schema, its checks, how Hydra composes it, and where the options lie.

In come overrides, out goes a `Config` that fits together, or an error that names the keys. Imports errors, shared
values and the strategies, and no library heavier than Hydra.
"""
