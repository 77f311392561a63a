"""What calls cost: sums by role and iteration are the run's, and an unknown price is never 0 USD."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from improve.display.card import card_rows
from improve.record.history import History
from improve.report import write_run_page
from improve.spending.costs import by_iteration, by_role, costs
from tests.support.made_run import Maker


def record(role: str, iteration: int, usd: float | None, tokens: tuple[int, int, int, int]) -> Any:
    names = ("input", "cached", "reasoning", "output")
    return {
        "role": role, "iteration": iteration, "model": f"m/{role}", "usd": usd, "call_seconds": 1.5,
        "tokens": dict(zip(names, tokens, strict=True)),
    }  # fmt: skip


calls = st.lists(
    st.builds(
        record,
        st.sampled_from(["analyst", "architect", "summarizer"]),
        st.integers(0, 3),
        st.none() | st.floats(0, 10),
        st.tuples(*[st.integers(0, 10_000)] * 4),
    )
)


@given(calls)
def test_the_parts_add_up_to_the_whole(made: list[Any]) -> None:
    whole = costs(made)
    for parts in (by_role(made).values(), by_iteration(made).values()):
        assert sum(part.calls for part in parts) == whole.calls
        assert abs(sum(part.paid for part in parts) - whole.paid) < 1e-9
        assert {model for part in parts for model in part.unpriced} == set(whole.unpriced)
        for kind, count in whole.tokens.items():
            assert sum(part.tokens[kind] for part in parts) == count
    assert (whole.usd is None) == any(call["usd"] is None for call in made)


def test_no_calls_cost_nothing() -> None:
    assert costs([]).usd == 0
    assert costs([]).total_tokens == 0


def test_a_price_that_is_not_known_is_said_on_the_card_and_the_page(tmp_path: Path) -> None:
    folder = Maker(tmp_path / "run", llm="some-model", usd=None).write()
    card = "\n".join(row.text for row in card_rows(History.read(folder), folder))
    page = write_run_page(folder).read_text()
    assert "price unknown" in card
    for text in (card, page):
        assert "the price of some-model/expert is not known" in text
        assert "0.00 USD" not in text
        assert "0 USD" not in text


def test_the_page_shows_money_by_role_and_by_iteration(tmp_path: Path) -> None:
    folder = Maker(tmp_path / "run", llm="gpt-4o", usd=0.0123).write()
    history, page = History.read(folder), write_run_page(folder).read_text()
    for part in (*by_role(history.calls).values(), *by_iteration(history.calls).values()):
        assert part.usd is not None
        assert f">{part.usd:.4f} USD<" in page
