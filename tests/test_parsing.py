"""Reading replies: what models really send is accepted, what is ambiguous or cut off is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from improve.agents.parsing import (
    Proposal,
    UnusableReply,
    blocks,
    component_source,
    json_object,
    plain_text,
    whole_pipeline,
)
from improve.domain import Pipeline
from tests.support import components

CODE = "import torch\nbatch_size = 8\n"


@pytest.mark.parametrize(
    "reply",
    [
        f"```python\n{CODE}```",
        f"Here it is:\n\n```py\n{CODE}```\nDone.",
        f"```\n{CODE}```",
        f"~~~python\n{CODE}~~~",
        f"````python\n{CODE}````",
        f"<think>maybe ```python\nno\n``` or</think>\n```python\n{CODE}```",
        f"```python\r\n{CODE}```".replace("\n", "\r\n"),
        f"```bash\npip install x\n```\n```python\n{CODE}```",
    ],
)
def test_one_block_in_many_dresses(reply: str) -> None:
    assert component_source(reply, "training") == CODE


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ("no code at all", "found 0"),
        (f"```python\n{CODE}", "not closed"),
        (f"```python\n{CODE}```\n```python\n{CODE}```", "found 2"),
        (f"```python\n# model.py\n{CODE}```", "model.py"),
        ("x" * 300_000, "longer"),
    ],
)
def test_what_is_ambiguous_is_refused(reply: str, says: str) -> None:
    with pytest.raises(UnusableReply, match=says):
        component_source(reply, "training")


def test_of_several_blocks_the_named_one_is_taken() -> None:
    reply = f"```python\n# data.py\nx = 1\n```\n```python\n# training.py\n{CODE}```"
    assert component_source(reply, "training") == f"# training.py\n{CODE}"


def test_the_architects_reply_is_split_into_three() -> None:
    plan, pipeline = whole_pipeline(components.first_pipeline())
    assert plan == "A small net."
    assert "class DataModule" in pipeline.data
    assert "class Model" in pipeline.model
    assert "batch_size" in pipeline.training


def test_three_files_in_one_block_are_told_apart() -> None:
    plan, pipeline = whole_pipeline(
        "Plan.\n```python\n# data.py\na = 1\n\n# model.py\nb = 2\n# training.py\nc = 3\n```\n"
    )
    assert plan == "Plan."
    assert pipeline == Pipeline(
        data="# data.py\na = 1\n", model="# model.py\nb = 2\n", training="# training.py\nc = 3\n"
    )


def test_a_file_that_speaks_of_another_is_one_file() -> None:
    with pytest.raises(UnusableReply, match=r"# model\.py"):
        whole_pipeline("```python\n# data.py\n# model.py must not change\na = 1\n```\n")


@pytest.mark.parametrize("title", ["# {}.py", "**`{}.py`**:", "2. Now the {}.py file:", "### {}.py (new)"])
def test_a_title_above_a_block_names_its_file(title: str) -> None:
    sources = {"data": "a = 1\n", "model": "b = 2\n", "training": "c = 3\n"}
    reply = "\n\n".join(f"{title.format(name)}\n\n```python\n{code}```" for name, code in sources.items())
    assert whole_pipeline("Some plan.\n\n" + reply)[1] == Pipeline(**sources)


def test_a_title_with_two_names_names_none() -> None:
    with pytest.raises(UnusableReply, match=r"# data\.py"):
        whole_pipeline("data.py and model.py:\n```python\na = 1\n```\n")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UnusableReply, match=r"model\.py"):
        whole_pipeline(components.fenced(data=components.DATA, training=components.training()))


@given(
    code=st.lists(st.sampled_from(["a = 1", "", "def f():", "    return 1", "# x"]), min_size=1).map("\n".join),
    before=st.sampled_from(["", "Text.\n", "- a\n"]),
    cut=st.integers(min_value=0, max_value=400),
)
def test_half_a_block_is_never_returned(code: str, before: str, cut: int) -> None:
    whole = f"{before}```python\nfirst = 1\n{code}\nlast = 2\n```\n"
    try:
        found = blocks(whole[:cut])
    except UnusableReply:
        return
    assert all(block.startswith("first = 1") and block.rstrip().endswith("last = 2") for block in found)


@pytest.mark.parametrize(
    ("before", "after"),
    [("", ""), ("Sure:\n", "\nGood luck."), ("```json\n", "\n```"), ('<think>{"component": 1}</think>', "")],
)
def test_json_with_other_things_around(before: str, after: str) -> None:
    text = json.dumps({"component": "model", "feedback": "wider {really}"})
    proposal = json_object(before + text + after, Proposal)
    assert (proposal.component, proposal.feedback) == ("model", "wider {really}")


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ("nothing", "found 0"),
        ('{"component": "model", "feedback": "a"} {"component": "data", "feedback": "b"}', "found 2"),
        ('{"component": "optimizer", "feedback": "a"}', "component"),
        ('{"component": "model"}', "feedback"),
        ('{"component": "model", "feedback": "a"', "found 0"),
    ],
)
def test_json_that_does_not_fit_says_why(reply: str, says: str) -> None:
    with pytest.raises(UnusableReply, match=says):
        json_object(reply, Proposal)


def test_prose_is_cut_and_loses_its_code() -> None:
    assert plain_text("It  helped.\n```python\nx\n```\n" + "a" * 500, 20) == ("It helped. " + "a" * 500)[:20]
