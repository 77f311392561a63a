"""Where a run lies."""

from __future__ import annotations

import pytest

from improve.config.compose import config_from
from improve.errors import ConfigError
from improve.record.folders import folder_of, make_folder


@pytest.mark.parametrize("key", ["outputs=/tmp/", "run_dir=/tmp/", "outputs=/tmp dataset.name="])
def test_a_name_that_is_too_long_is_refused_in_words(key: str) -> None:
    *others, last = key.split()
    config = config_from(["dataset=digits", *others, last + 300 * "a"])
    with pytest.raises(ConfigError, match="File name too long"):
        make_folder(folder_of(config))
