"""The JSON schema of an answer, in the dialect that providers hold a model to."""

from __future__ import annotations

from typing import Any

import pydantic

# What providers' strict modes refuse. pydantic checks these itself when the answer is read.
UNKNOWN_TO_PROVIDERS = ("default", "title", "minLength", "maxLength")


def strict(model: type[pydantic.BaseModel]) -> dict[str, Any]:
    """The schema of a flat pydantic model: every property required, none besides."""
    schema = model.model_json_schema()
    properties = {
        name: {key: value for key, value in entry.items() if key not in UNKNOWN_TO_PROVIDERS}
        for name, entry in schema["properties"].items()
    }
    return {
        "title": schema["title"],
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
