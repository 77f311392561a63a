"""`improve theory simulate`: equal cost, the same for the same seed, and honest about what it shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from improve.cli import main
from improve.errors import ConfigError
from improve.theory.simulate import Setting, descend

SMALL = ["--problems", "4", "--steps", "12", "--block", "2"]


def test_both_strategies_get_the_same_tokens() -> None:
    setting = Setting(steps=60)
    spent, budget = setting.cost.total(setting.global_steps, 3), setting.cost.total(60, 1)
    assert spent <= budget < setting.cost.total(setting.global_steps + 1, 3)
    assert Setting(history=0, steps=60).global_steps == 20
    one = descend(Setting(problems=3, steps=20), 0.5)
    assert one.full.shape == (3, 1 + Setting(steps=20).global_steps)
    assert one.southwell.shape == one.random.shape == (3, 21)


def test_another_seed_is_another_problem() -> None:
    drawn = [descend(Setting(problems=2, steps=9, seed=seed), 0.5).full for seed in (0, 0, 1)]
    assert (drawn[0] == drawn[1]).all()
    assert (drawn[0] != drawn[2])[:, 1:].all()


def test_every_step_goes_down_and_the_informed_choice_beats_the_guess() -> None:
    one = descend(Setting(problems=20, steps=30), 1.0)
    for shares in (one.full, one.southwell, one.random):
        assert (np.diff(shares, axis=1) <= 1e-12).all()
        assert (shares[:, 0] == 1).all()
    assert np.median(one.southwell[:, -1]) < np.median(one.random[:, -1])


def test_the_command_writes_a_table_and_a_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed, drawn = [], []
    for name in ("a", "b"):
        assert main(["theory", "simulate", *SMALL, "--out", str(tmp_path / name)]) == 0
        printed.append(capsys.readouterr().out.split("figure:")[0])
        drawn.append((tmp_path / name / "simulate.svg").read_bytes())
        assert (tmp_path / name / "simulate.png").read_bytes().startswith(b"\x89PNG")
    assert printed[0] == printed[1]
    assert drawn[0] == drawn[1]
    assert "It does not show that language models behave so" in printed[0]
    assert sum(line.strip().startswith(("0 ", "0.25", "0.5", "1 ")) for line in printed[0].splitlines()) == 4


@pytest.mark.parametrize(
    ("option", "value"),
    [("--problems", "0"), ("--steps", "1"), ("--condition", "1"), ("--p", "1"), ("--seed", "-1"), ("--block", "500")],
)
def test_what_cannot_be_simulated_is_refused(
    option: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["theory", "simulate", option, value, "--out", str(tmp_path)]) == ConfigError.exit_code
    assert "fix:" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["theory", "simulate", *SMALL, "--out", str(tmp_path / "file")]) == 1
    assert "--out FOLDER" in capsys.readouterr().err
