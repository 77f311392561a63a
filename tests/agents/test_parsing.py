"""Reading replies: what models really send is accepted, what is ambiguous or cut off is refused."""

from __future__ import annotations

import contextlib
import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from improve.agents.parsing import (
    Proposal,
    UnusableReply,
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
        f"``` Python \n{CODE}```",
        f"```{{python}}\n{CODE}```",
        f'```python title="training.py"\n{CODE}```',
        f"```training.py\n{CODE}```",
        f"<thinking>a\n```python\nno\n</thinking>\n<think>b</think>```python\n{CODE}```",
        f"I think of\n```python\nno = 1\n```\n</think>\n\n```python\n{CODE}```",
        "1. The file:\n\n   ```python\n   import torch\n   batch_size = 8\n   ```\n2. Done.",
        f"```python\n{CODE}```\nAgain:\n```python\n{CODE}```",
    ],
)
def test_one_block_in_many_dresses(reply: str) -> None:
    assert component_source(reply, "training") == CODE


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ("no code at all", "found 0"),
        (f"```python\n{CODE}", "not closed"),
        (f"```python\n{CODE}```\n```python\n{CODE}x = 1\n```", "found 2"),
        (f"```python\n# training.py\n{CODE}```\n```python\n# training.py\n{CODE}x = 1\n```", "found 2"),
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


def test_a_quoted_present_file_is_not_the_answer() -> None:
    reply = f"Now:\n```python\n# present training.py\nold = 1\n```\nNew:\n```python\n# training.py\n{CODE}```"
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


def test_of_unnamed_blocks_the_one_that_defines_the_component_is_taken() -> None:
    whole = components.training()
    reply = f"Like this:\n```python\nlr = 1e-3\n```\nThe file:\n```\n{whole}```\nUse:\n```python\nmain()\n```"
    assert component_source(reply, "training") == whole


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (f"```python\n{components.model()}```", "model.py, but training.py"),
        ("<think>Let me see\n```python\nx = 1\n```", "do not end"),
        ("```python\nmaybe\n</think>\n```python\nx = 1\n```", "thoughts end inside"),
        ("```python\n# training.py\nx = (\n```\n```text\nlog\n```", "not complete Python"),
        ("<think></think>" * 5000, "found 0"),
    ],
)
def test_more_that_is_refused(reply: str, says: str) -> None:
    with pytest.raises(UnusableReply, match=says):
        component_source(reply, "training")


@pytest.mark.parametrize(
    "reply",
    [
        "~" * 199_000 + "`",
        "```\n```\n" * 24_000,
        "{" * 199_000,
        '{"a":' * 39_000,
        '{"a":' * 20_000 + "1" + "}" * 20_000,
        '{"a":' * 990 + "1" + "}" * 990,
        "{}" * 99_000,
        "# " + "data/" * 39_000,
        "```python\n" + "(" * 190_000 + "\n```",
        "<think>" * 28_000,
        " " * 190_000 + "<think",
    ],
    ids=["tildes", "blocks", "braces", "objects", "nested", "deep", "pairs", "names", "parentheses", "tags", "spaces"],
)
def test_no_reply_takes_long_to_read(reply: str) -> None:
    started = time.process_time()
    for read in (
        lambda: component_source(reply, "model"),
        lambda: whole_pipeline(reply),
        lambda: json_object(reply, Proposal),
    ):
        with contextlib.suppress(UnusableReply):
            read()
    assert time.process_time() - started < 3


@pytest.mark.parametrize(
    "dress",
    [
        "### {name}.py\n```python\n{source}```\n",
        "**{name}.py**:\n\n```\n{source}```\n",
        "```python\n# {name}.py\n{source}```\n",
        "```python\n# file: improve/{name}.py\n{source}```\n",
        '```python\n"""{name}.py: what it does."""\n{source}```\n',
        "```python {name}.py\n{source}```\n",
        "```python:{name}.py\n{source}```\n",
        "Here:\n```python\n{source}```\n",
    ],
)
def test_the_three_files_may_be_named_in_many_ways(dress: str) -> None:
    sources = {"data": components.DATA, "model": components.model(), "training": components.training()}
    reply = "A plan.\n" + "".join(dress.format(name=name, source=text) for name, text in sources.items())
    _, pipeline = whole_pipeline(f"{reply}\nTo run:\n```bash\npython train.py\n```\n")
    for name, text in sources.items():
        assert text.strip() in getattr(pipeline, name)


# Lines of valid Python in which fences and thinking tags stand where they look like the reply's own.
PIECES = (
    "a = 1",
    "def f():\n    return 1",
    '"""\n```\n"""',
    '"""\n```python\nx\n```\n"""',
    "'''\n~~~\n'''",
    '"""\n</think>\n"""',
    '"""\n<think>\n"""',
    "# ```",
    "s = '```'",
    '{"component": "data"}',
)
AROUND = (
    "",
    "Text.",
    "- a\n",
    "<think>\n```python\nno\n</think>",
    "<think>no</think>",
    "```text\nlog\n```",
    "</think>",
)


@example(
    code="'''\n~~~\n'''\n\"\"\"\n<think>\n\"\"\"",
    fence="~~~",
    tag="",
    name="",
    before="",
    after="<think>\n```python\nno\n</think>",
    cut=None,
)
@given(
    code=st.lists(st.sampled_from(PIECES)).map("\n".join),
    fence=st.sampled_from(["```", "````", "~~~"]),
    tag=st.sampled_from(["", "python", "py"]),
    name=st.sampled_from(["", "# model.py\n"]),
    before=st.lists(st.sampled_from(AROUND), max_size=3).map("\n".join),
    after=st.lists(st.sampled_from(AROUND), max_size=2).map("\n".join),
    cut=st.one_of(st.none(), st.integers(min_value=0, max_value=300)),
)
def test_half_a_block_is_never_returned(
    code: str, fence: str, tag: str, name: str, before: str, after: str, cut: int | None
) -> None:
    # If it ran, the test would end here: what is read is never executed.
    source = f"{name}raise SystemExit('executed')\nclass Model: pass\n{code}\nlast = 2\n"
    reply = f"{before}\n{fence}{tag}\n{source}{fence}\n{after}"[:cut]
    try:
        found = component_source(reply, "model")
    except UnusableReply:
        return
    assert found == source


@given(st.text(alphabet='`~<>/think\n py{}":,a#', max_size=200))
def test_no_reply_is_an_error_of_ours(reply: str) -> None:
    for read in (
        lambda: component_source(reply, "model"),
        lambda: whole_pipeline(reply),
        lambda: json_object(reply, Proposal),
        lambda: plain_text(reply, 100),
    ):
        with contextlib.suppress(UnusableReply):
            read()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("Sure:\n", "\nGood luck."),
        ("```json\n", "\n```"),
        ("```json\n", ""),
        ('<think>{"component": 1}</think>', ""),
        ('{"component": 1}</think>', ""),
        ("Set {lr} and then ", ""),
        ('Now {"lr": 0.1}, so:\n', ""),
        ("```python\nx = {'a': 1}\n```\n", ""),
    ],
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
        ('{"component": "model", "feedback": "a"', "not valid: Expecting ',' delimiter"),
        ('{"component": "model", "why": {"component": "data", "feedback": "b"}', "not valid"),
        ('{"component": "model", "feedback": "a", "component": "data"}', "a key twice"),
        ('<think>{"component": "model", "feedback": "a"}', "do not end"),
        ('```json\n{"component": "model",\n```', "not valid"),
        ("{" * 5000 + '"a"', "found 0|not valid|deeply"),
    ],
)
def test_json_that_does_not_fit_says_why(reply: str, says: str) -> None:
    with pytest.raises(UnusableReply, match=says):
        json_object(reply, Proposal)


@pytest.mark.parametrize("name", ["model", "Model", "model.py", "`model`"])
def test_a_component_may_be_named_loosely(name: str) -> None:
    assert json_object(json.dumps({"component": name, "feedback": "x"}), Proposal).component == "model"


def test_a_line_break_in_a_string_and_the_same_object_twice_are_forgiven() -> None:
    text = '{"component": "model", "feedback": "one\ntwo"}'
    assert json_object(f"{text}\nThat is: {text}", Proposal).feedback == "one\ntwo"


def test_prose_is_cut_and_loses_its_code() -> None:
    assert plain_text("It  helped.\n```python\nx\n```\n" + "a" * 500, 20) == ("It helped. " + "a" * 500)[:20]
