"""The configuration: every option composes, every mistake is one sentence with its fix, and no torch is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore

from improve.config import naming
from improve.config import schema as schema
from improve.config.compose import to_config
from improve.config.decisive import settings
from improve.config.naming import run_name
from improve.errors import ConfigError
from tests.support.paths import CONF

OPTIONS = sorted(
    f"{file.parent.name}={file.stem}" for file in CONF.glob("*/*.yaml") if file.parent.name != "experiment"
)
EXPERIMENTS = sorted(file.stem for file in (CONF / "experiment").glob("*.yaml"))


def composed(*overrides: str) -> schema.Config:
    ConfigStore.instance().store(name="schema", node=schema.Config)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return to_config(compose("config", list(overrides)))


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes(option: str) -> None:
    group, name = option.split("=")
    values = composed(option)
    settings(values)
    if group in ("dataset", "llm", "prompts", "strategy") and option != "strategy=random":  # a name for two settings
        assert getattr(values, group).name == name


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes_and_states_its_command(name: str) -> None:
    composed(f"experiment={name}")
    lines = (CONF / "experiment" / f"{name}.yaml").read_text().splitlines()
    assert any(f"experiment={name}" in line for line in lines[:3])


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "improve.run", *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
        timeout=60,
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["dataset=digts"], "did you mean digits"),
        (["llm=gpt4o"], "did you mean gpt-4o"),
        (["iterations=3"], "did you mean strategy.iterations?"),
        (["strategy.iteratons=3"], "did you mean strategy.iterations"),
        (["+foo=3"], "'foo'"),
        (["+strategy.foo=3"], "'strategy.foo'"),
        (["strategy.iterations=many"], "strategy.iterations=many is not a whole number"),
        (["seed=abc"], "for instance seed=0"),
        (["seed=1=2"], "seed=1=2 is not a whole number"),
        (["-m", "seed=0,x"], "seed=x is not a whole number"),
        (["dry_run=maybe"], "dry_run=maybe is not true or false"),
        (["seed=0,1"], "add -m"),
        (["tracking.tags=a,b"], "'tracking.tags=[a,b]'"),
        (["executor.fetch_weights=[a"], "'executor.fetch_weights=[a]'"),
        (["nonsense"], "nonsense"),
        (["digits"], "fix: dataset=digits"),
        (["doctor"], "improve doctor"),
        (["--dry-run"], "fix: dry_run=true"),
        (["--seed=3"], "fix: seed=3"),
        (["~dataset.path"], "fix: dataset.path=null"),
        (["dataset.path=???"], "dataset.path cannot be ???"),
        (["llm=1_5"], "there is no llm=1_5"),
        (["hydra/launcher=jblib"], "did you mean joblib"),
        (["hydra/sweeper=optuna"], "hydra-optuna-sweeper"),
        (["hydra/launcher=submitit_slurm"], "hydra-submitit-launcher"),
        (["experiment=smok"], "did you mean smoke"),
        (["executor.fit_seconds=0"], "executor.fit_seconds=1"),
        (["acceptance.alpha=2"], "acceptance.alpha"),
        (["sandbox.mode=maybe"], "require, auto, off"),
        (["tracking=wanbd"], "did you mean wandb"),
        (["tracking.project=a/b"], "tracking.project=a/b cannot be a name in W&B"),
        (["strategy.name=iteratve"], "iterative"),
        (["prompts.path=/no/such/folder"], "/no/such/folder"),
        (["dataset=folder"], "dataset.path"),
        (["dataset=folder", "dataset.path=/no/such/folder"], "does not exist"),
        (["llm=gpt-4o"], "OPENAI_API_KEY"),
        (["dataset.constraints.model=ViT-B/16"], "for language models"),
        (["llm=gpt-4o", "llm.roles.analyst=offline", "dataset.constraints.model=ViT-B/16"], "for language models"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_fix(arguments: list[str], says: str, tmp_path: Path) -> None:
    done = run(*arguments, f"outputs={tmp_path / 'outputs'}", OPENAI_API_KEY="")
    assert done.returncode not in (0, 1), done.stderr
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert "fix: " in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "outputs").exists()


def test_outputs_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run(f"outputs={tmp_path / 'file'}", "dataset=digits")
    assert done.returncode == ConfigError.exit_code
    assert "choose outputs=DIR" in done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"], ["dataset=nope"]])
def test_help_and_config_import_no_torch(arguments: list[str]) -> None:
    program = (
        "import sys\nfrom improve.run import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print('HEAVY', [m for m in ('torch', 'litellm', 'pytorch_lightning', 'timm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60)
    assert "HEAVY []" in done.stdout, done.stdout + done.stderr


def test_the_run_name_is_stable_and_tells_settings_apart() -> None:
    first, same, other = composed("dataset=digits"), composed("dataset=digits"), composed("dataset=digits", "seed=1")
    moved = composed("dataset=digits", "outputs=elsewhere", "display=plain")
    assert run_name(first) == run_name(same) == run_name(moved)
    assert run_name(first) != run_name(other)
    assert run_name(first).startswith("digits-iterative-offline-seed0-")


def test_a_run_keeps_its_name_when_the_schema_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass
    class Later(schema.Config):
        new_key: int = 3

    config = composed("dataset=digits", "seed=1")
    name = run_name(config)
    monkeypatch.setattr(naming, "Config", Later)
    assert run_name(Later(**vars(config))) == name
    assert run_name(Later(**vars(config), new_key=4)) != name


def test_what_a_strategy_without_roles_does_not_use_is_no_other_run() -> None:
    plain = composed("dataset=digits", "strategy=zero_shot")
    for key in ("iterations=3", "unified_initialization=false", "repairs=1", "history=3"):
        assert composed("dataset=digits", "strategy=zero_shot", f"strategy.{key}") == plain
    free = ("dataset.constraints.model=resnet18", "dataset.constraints.roles_only=true")
    assert composed("dataset=digits", "strategy=zero_shot", *free) == plain
    assert composed("dataset=digits", "strategy=iterative", *free).dataset.constraints.model == "resnet18"


def test_strategy_random_is_the_iterative_random_expert_whatever_the_model() -> None:
    drawn = composed("dataset=digits", "strategy=iterative", "llm=offline_random")
    assert composed("dataset=digits", "strategy=random", "llm=gpt-4o", "llm.roles.analyst=o1") == drawn
