"""A pipeline: three components that plug into the files under `template/`, which run in the sandbox or alone."""
