"""The value of a text key is text: it arrives as typed, in a run, in a sweep, from Python, and when pasted again."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from improve.config import invocation
from improve.config.compose import config_from
from improve.config.keys import MISSING, Key
from improve.config.overrides import (
    GROUPS,
    as_typed,
    commas,
    hydra_arguments,
    hydra_overrides,
    known_keys,
    override,
    split,
)  # fmt: skip
from improve.errors import ConfigError
from tests.support.planned import planned

TEXT_KEYS = [key for key in known_keys().values() if key.is_text and key.name not in GROUPS]
LIST_KEYS = [key for key in known_keys().values() if key.is_list and not key.options]
# What Hydra or OmegaConf would read as something else, or change, or stumble over.
ODD = [
    "2024_05_17", "1e3", "1_5", "0x10", "inf", "nan", "true", "False", "null ", "NULL", "a,b", "[x]", "{a: b}", "[a",
    "~name", "${now}", "${", "\\${now}", "\\\\${x}", "$x", "photos ", " photos", "a=b", "=", "#1", "a # b", "it's",
    'say "no"', "''", "\\", "\\'", "back\\slash \\\\' quote", "", "Füße 猫 🙂", "a:b", "(x)", "choice", "x(1)", "%20",
    "plain words", "Roses, red; or not.", "it's a (daisy) #1 = {x} [y] $z: 50%", "a\nb\tc", "-m", "--help", "+x", "@y",
]  # fmt: skip
CHARACTERS = "\\${}'\"[]()~,=:#?%+-_.@!|&;<>*^` \t\nabeéntu1x0\u2028\udcff"
TEXTS = st.text(st.sampled_from(CHARACTERS), max_size=12) | st.sampled_from(ODD)


def arrived(grammar: str) -> Any:
    """What the program gets of an override in Hydra's grammar, also after a sweeper has written it anew for its job."""
    parser = OverridesParser.create()
    first = parser.parse_override(grammar)
    assert not first.is_sweep_override()
    again = parser.parse_override(f"key={first.get_value_element_as_str()}")
    config = OmegaConf.create({"first": first.value(), "again": again.value()})
    values: Any = OmegaConf.to_container(config, resolve=True)
    assert values["first"] == values["again"]
    return values["first"]


def is_plain(key: Key, text: str) -> bool:
    """Whether a text means itself as it is typed: three forms mean something else (see the module's docstring)."""
    return as_typed(key.name, text) == f"{key.name}={text}"


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(TEXT_KEYS), TEXTS)
def test_any_text_arrives_as_typed(key: Key, text: str) -> None:
    assume(text != MISSING and is_plain(key, text))
    for sweeping in (False, True):
        (grammar,) = hydra_overrides([f"{key.name}={text}"], sweeping)
        assert arrived(grammar) == text


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(TEXT_KEYS), TEXTS | st.sampled_from(["null", "'${now}'", '"a"', "choice(a,b)", "range(3)"]))
def test_any_text_arrives_from_python_and_from_a_command_that_is_pasted(key: Key, text: str) -> None:
    assume(text != MISSING)
    (grammar,) = hydra_overrides([override(key.name, text)])
    assert arrived(grammar) == text
    (argument,) = shlex.split(shlex.join([as_typed(key.name, text)]))
    (grammar,) = hydra_overrides([argument], sweeping=True)
    assert arrived(grammar) == text


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(LIST_KEYS), st.lists(TEXTS, min_size=1, max_size=3))
def test_lists_of_texts_arrive_from_python(key: Key, texts: list[str]) -> None:
    assume(MISSING not in texts)
    (grammar,) = hydra_overrides([override(key.name, texts)])
    assert arrived(grammar) == texts


@pytest.mark.parametrize("typed", ["[2024_05_17,true, 1e3 ]", "['2024_05_17',\"true\",'1e3']"])
def test_the_elements_of_a_list_are_texts(typed: str) -> None:
    assert config_from(["dataset=digits", f"tracking.tags={typed}"]).tracking.tags == ["2024_05_17", "true", "1e3"]


@pytest.mark.parametrize("text", ["2024_05_17", "a,b", "[x]", "${now}", " photos ", "it's 'a = b' #1"])
def test_a_sweep_takes_texts_as_typed(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(["-m", "dataset=digits", f"dataset.description={text}", "seed=1"], monkeypatch)
    assert [job.config.dataset.description for job in plan.jobs] == [text]


def test_a_list_in_a_sweep_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(["-m", "dataset=digits", "dataset.name=choice(a, 2024_05,'b,c')"], monkeypatch)
    assert [job.config.dataset.name for job in plan.jobs] == ["a", "2024_05", "b,c"]
    assert list(commas(["dataset.name=a,b", "seed=0,1", "dataset.name='a,b'", "dataset.name=choice(a,b)"])) == [
        "'dataset.name=choice(a,b)'"
    ], "as a shell takes it"


@pytest.mark.parametrize("key", [key.name for key in TEXT_KEYS if key.is_optional])
def test_null_is_none_where_it_may_be(key: str) -> None:
    (grammar,) = hydra_overrides([f"{key}=null"])
    assert arrived(grammar) is None
    (grammar,) = hydra_overrides([f"{key}='null'"])
    assert arrived(grammar) == "null"


def test_quotes_around_a_whole_value_are_hydras() -> None:
    assert config_from(["dataset.description='Roses, red'"]).dataset.description == "Roses, red"


def test_a_folder_of_prompts_may_have_any_name() -> None:
    (name, path) = hydra_overrides(["prompts=./2024_05"])
    assert (name, path) == ("prompts.name='2024_05'", "prompts.path='./2024_05'")


def test_other_arguments_stay_as_they_are() -> None:
    plain = ["seed=0,1", "dataset.train=null", "llm=o1", "+x.y=[1,2]", "~x", "strategy=iterative,global"]
    assert hydra_arguments([*plain, "--cfg", "job"]) == ["--cfg", "job", *plain]


def test_options_may_stand_anywhere() -> None:
    arguments = ["seed=1", "-m", "--config-dir", "a=b", "dataset=digits", "--info=plugins"]
    assert split(arguments) == (["-m", "--config-dir", "a=b", "--info=plugins"], ["seed=1", "dataset=digits"])


WRONG = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8) | st.sampled_from([*ODD, "a,b", "1.5"])


@settings(deadline=None, max_examples=10)
@given(st.sampled_from([key for key in known_keys().values() if not key.is_text]), WRONG)
def test_no_fix_fails_in_turn(key: Key, value: str) -> None:
    for argument in (f"{key.name}={value}", f"--{key.name.rpartition('.')[2]}={value}", value):
        try:
            config_from([argument])
        except ConfigError as error:
            for fix in fixes(error.fix):
                config_from([fix])


def fixes(text: str) -> list[str]:
    """The settings that a fix proposes: what stands as KEY=VALUE in the shell's words."""
    words = shlex.split(re.sub(r"^(for instance|use) | or more$", "", text).replace(", or ", " or "), comments=False)
    return [word for word in words if "=" in word]


def test_the_same_again_has_what_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(invocation.STARTED_AS, "bash scripts/run.sh")
    invocation.remember(["dataset.path=two words", "seed=1", "run_dir=old"])
    again = invocation.same_again("run_dir=new")
    assert again == "bash scripts/run.sh 'dataset.path=two words' seed=1 run_dir=new"


def test_the_null_proposer_is_found_by_that_name_and_nothing_else_is_called_null() -> None:
    assert hydra_overrides(["strategy=null", "experiment=null"]) == ["strategy=placebo", "experiment=placebo"]
    assert hydra_overrides(["strategy=iterative,null"], sweeping=True) == ["strategy=iterative,placebo"]
    assert config_from(["strategy=null"]).strategy.name == "placebo"
    with pytest.raises(ConfigError, match="there is no llm=null"):
        config_from(["llm=null"])
