"""`improve.refine`: a real run in a thread beside a running event loop; every mistake as an `ImproveError`."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import improve
from improve.api import _overrides
from improve.config.compose import config_from
from improve.errors import ConfigError, DataError, ImproveError, LLMError
from improve.record.history import PAPER_PROTOCOL


def tiny(folder: Path, cache: Path) -> dict[str, Any]:
    return {
        "dataset": "digits", "strategy": {"iterations": 1}, "outputs": folder, "cache_dir": str(cache),
        "display": "none", "protocol": "paper", "executor": {"fit_seconds": 4, "threads": 1},
        "dataset.train": 200, "dataset.selection": 100, "dataset.test": 150,
    }  # fmt: skip


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Any:
    given = tiny(tmp_path_factory.mktemp("outputs"), cache)

    async def notebook() -> Any:
        return await asyncio.to_thread(lambda: improve.refine(**given))

    return asyncio.run(notebook()), given


@pytest.mark.slow
def test_a_run_in_a_thread_gives_its_folders_scores_and_history(result: Any) -> None:
    done, given = result
    assert done.folder.parent == given["outputs"]
    assert (done.best / "predict.py").exists()
    assert done.page.name == "run.html"
    for score in (done.first_test, done.best_test):
        assert score.total == 150
        assert 0.5 < score.low < score.accuracy < score.high <= 1
    frame = done.history
    assert list(frame["iteration"]) == [0, 1]
    assert frame["component"].tolist() == ["first", done.record.iterations[1].component]
    assert frame["accuracy"][0] * 150 == pytest.approx(round(frame["accuracy"][0] * 150))
    assert set(frame["protocol"]) == {PAPER_PROTOCOL}


@pytest.mark.slow
def test_a_paper_run_says_so_in_its_name_on_its_page_and_beside_its_scores(result: Any) -> None:
    done, _ = result
    assert "-paper-" in done.folder.name
    assert any(PAPER_PROTOCOL in note for note in done.notes)
    page = done.page.read_text(encoding="utf-8")
    assert page.count(PAPER_PROTOCOL) > 3
    # The test images chose: the selection score of the best pipeline is its test score.
    best = done.history.set_index("iteration")["accuracy"][done.record.best]
    assert best == pytest.approx(done.best_test.accuracy, abs=1 / 150)


def test_the_same_call_again_finds_the_run_finished(result: Any, capsys: pytest.CaptureFixture[str]) -> None:
    done, given = result
    started = time.monotonic()
    assert improve.refine(**given).best_test == done.best_test
    assert time.monotonic() - started < 20
    assert "finished" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "kind", "says"),
    [
        ({"dataset": "digts"}, ConfigError, "did you mean digits"),
        ({"dataset": "no/such/folder"}, DataError, "does not exist"),
        ({"dataset": 3}, ConfigError, "dataset cannot be 3"),
        ({"dataset": "digits", "strategy": {"iteratons": 2}}, ConfigError, "did you mean strategy.iterations"),
        ({"dataset": "digits", "strategy.iterations": -1}, ConfigError, "strategy.iterations=-1"),
        ({"dataset": "digits", "seed": object()}, ConfigError, "seed cannot be"),
        ({"dataset": "digits", "llm": "gpt-4o"}, LLMError, "OPENAI_API_KEY"),
    ],
)
def test_a_mistake_is_an_improve_error(
    given: dict[str, Any], kind: type[ImproveError], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=says):
        improve.refine(**given)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_images_is_a_dataset(tmp_path: Path) -> None:
    for given in (tmp_path, str(tmp_path)):
        config = config_from(list(_overrides({"dataset": given})))
        assert (config.dataset.source, config.dataset.path) == ("folder", str(tmp_path))


@pytest.mark.parametrize(
    "text", ["it's", "${nothing}", "a, b = [c] {d}", "back\\slash \\'", "", "null", "'quoted'", "3"]
)
def test_texts_arrive_as_they_are(text: str) -> None:
    config = config_from(list(_overrides({"dataset": "digits", "dataset.description": text})))
    assert config.dataset.description == text


def test_importing_improve_is_light() -> None:
    program = "import improve, sys; print([m for m in ('hydra', 'numpy', 'torch', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr
    with pytest.raises(AttributeError, match="refin"):
        _ = improve.refin


def test_a_program_that_uses_hydra_keeps_its_own() -> None:
    program = (
        "import hydra; from hydra.core.global_hydra import GlobalHydra\n"
        "from improve.config.compose import config_from\n"
        "with hydra.initialize(version_base='1.3'):\n"
        "    own = GlobalHydra.instance().hydra\n"
        "    assert config_from(['dataset=digits']).dataset.name == 'digits'\n"
        "    assert own is not None and GlobalHydra.instance().hydra is own\n"
        "print('kept')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "kept\n", done.stderr


INTERRUPTED = """
import _thread, pathlib, sys, threading, time
import improve
folder = pathlib.Path(sys.argv[1])

def interrupt():
    while not folder.exists() or 'key": "call-0"' not in (folder / "journal.jsonl").read_text():
        time.sleep(0.05)
    _thread.interrupt_main()

threading.Thread(target=interrupt, daemon=True).start()
try:
    improve.refine(dataset="digits", run_dir=folder, cache_dir=sys.argv[2], display="none", **{"executor.threads": 1})
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupted_call_is_a_keyboard_interrupt(tmp_path: Path, cache: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path / "run"), str(cache)],
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.stdout == "interrupted\n", done.stdout + done.stderr
    assert "the same call of improve.refine" in done.stderr
    assert (tmp_path / "run" / "run.html").exists()
