"""What generated code sees: Python, the allowed packages, and nothing of the user's, wherever the project lies."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from improve.config.schema import Config, DatasetConfig
from improve.errors import ConfigError
from improve.sandbox import Launch, Limits, Sandbox, bubblewrap, shown_in
from improve.sandbox.guarded import LandlockSandbox, PlainSandbox
from improve.sandbox.packages import packages
from improve.sandbox.tier3 import BubblewrapSandbox
from improve.session.hidden import require_hidden, secrets_of

ROOT = Path(__file__).parent.parent.parent
SITE = next(iter(packages().folders))
SANDBOXES: dict[str, Callable[[], Sandbox]] = {"T3": BubblewrapSandbox, "T1": LandlockSandbox, "T0": PlainSandbox}
# Run by the interpreter of a layout: which of the given paths can be read, and which names can be found, from inside.
LOOK = """
import json, os, sys, tempfile
from pathlib import Path
sys.path.insert(0, ROOT)
from improve.sandbox import Launch, Limits
from improve.sandbox.guarded import LandlockSandbox, PlainSandbox
from improve.sandbox.tier3 import BubblewrapSandbox
INSIDE = '''
import json, os, sys
seen = []
for path in sys.argv[2:]:
    try:
        seen.append(open(path).read())
    except OSError:
        continue
above = [os.path.dirname(path) for path in sys.argv[2:]]
for top in [*above, *map(os.path.dirname, above), *([] if os.path.exists("/var") else ["/"])]:
    for folder, folders, files in os.walk(top):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in ("/proc", "/sys")]
        seen += [name for name in files + folders if sys.argv[1] in name]
import ctypes, hashlib, sqlite3, ssl, json.tool
print(json.dumps(sorted(set(seen))))
'''
sandbox = {"T3": BubblewrapSandbox, "T1": LandlockSandbox, "T0": PlainSandbox}[sys.argv[1]]()
with tempfile.TemporaryDirectory() as folder:
    os.chmod(folder, 0o755)
    work, log = Path(folder, "work"), Path(folder, "log")
    work.mkdir()
    argv = [sys.executable, "-I", "-S", "-c", INSIDE, *sys.argv[2:]]
    limits = Limits(1 << 30, 1 << 24, 1 << 16, 32)
    with sandbox.start(Launch(argv=argv, writable=[work], cwd=work, limits=limits), log) as confined:
        code = confined.wait(60)
    print(json.dumps([code, log.read_text()]))
"""


@pytest.fixture
def token() -> str:
    return f"canary{secrets.token_hex(6)}"


def plant(folder: Path, token: str) -> list[Path]:
    """Secrets of a project: photos, labels, a key, outputs, its source."""
    made = []
    for name in (".env", f"photos/cat/{token}.png", "outputs/run/hidden.npy", "journal.jsonl", "src/code.py"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(token)
        made.append(path)
    return made


def look(python: Path, tier: str, token: str, paths: list[Path], **env: str) -> list[str]:
    """What a program in the sandbox of that interpreter sees of the secrets."""
    argv = [str(python), "-c", LOOK.replace("ROOT", repr(str(ROOT))), tier, token, *map(str, paths)]
    done = subprocess.run(
        argv, capture_output=True, text=True, env={"PATH": os.environ["PATH"], **env}, cwd=paths[0].parent
    )
    assert done.returncode == 0, done.stderr
    code, said = json.loads(done.stdout)
    assert code == 0, said
    seen: list[str] = json.loads(said.splitlines()[-1])
    return seen


def environment(folder: Path) -> Path:
    """A virtual environment in `folder` that also finds the packages of ours; its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    inside = next(folder.glob("lib/python*/site-packages"))
    (inside / "ours.pth").write_text(f"{SITE}\n")
    return folder / "bin/python"


@pytest.mark.parametrize("tier", SANDBOXES)
def test_a_project_that_is_its_own_environment(tier: str, token: str, tmp_path: Path) -> None:
    project = tmp_path / "project"
    python = environment(project)
    paths = plant(project, token) + plant(next(project.glob("lib/python*/site-packages")) / "mine", token)
    (project / "lib64/more").mkdir()
    paths += plant(project / "lib64/more", token)
    seen = look(python, tier, token, paths, HOME=str(project))
    assert seen == ([token, f"{token}.png"] if tier == "T0" else [])


@pytest.mark.parametrize("tier", SANDBOXES)
def test_links_and_path_files_that_lead_out_of_the_packages(tier: str, token: str, tmp_path: Path) -> None:
    python, other = environment(tmp_path / "venv"), tmp_path / "other"
    inside = next((tmp_path / "venv").glob("lib/python*/site-packages"))
    paths = plant(other, token)
    (inside / "other.pth").write_text(f"{other}\n")
    (inside / "linked").symlink_to(other)
    paths += [inside / "linked/.env"]
    seen = look(python, tier, token, paths, PYTHONPATH=str(other / "src"), LD_LIBRARY_PATH=str(other))
    assert seen == ([token, f"{token}.png"] if tier == "T0" else [])


@pytest.fixture
def below_usr() -> Iterator[Path]:
    folder = Path("/usr/local/share") / f"improve-test-{secrets.token_hex(4)}"
    try:
        folder.mkdir()
    except PermissionError:
        pytest.skip("only root can put a project below /usr")
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("tier", ["T3", "T1"])
def test_a_project_below_usr(tier: str, token: str, below_usr: Path) -> None:
    assert look(Path(sys.executable), tier, token, plant(below_usr, token)) == []


@pytest.mark.parametrize("tier", ["T3", "T1"])
def test_the_interpreter_of_the_system(tier: str, token: str, tmp_path: Path) -> None:
    system = Path("/usr/bin/python3")
    same = subprocess.run([system, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, text=True)
    if same.stdout.strip() != str(sys.version_info[:2]):
        pytest.skip("the system has no Python of this version, whose packages are needed")
    assert look(system, tier, token, plant(tmp_path, token), PYTHONPATH=str(SITE)) == []


@pytest.mark.parametrize("tier", ["T3", "T1"])
def test_settings_of_the_machine_are_not_shown(tier: str, token: str, tmp_path: Path) -> None:
    paths = [Path("/etc/hosts"), Path("/etc/hostname"), Path("/etc/group"), Path("/var/log"), Path("/usr/bin/env")]
    secret = tmp_path / "secret"
    secret.write_text(token)
    assert look(Path(sys.executable), tier, token, [secret, *paths]) == []


def test_data_sets_in_packages_are_hidden() -> None:
    hidden = [str(path.relative_to(SITE)) for tree in packages().trees for path in tree.hidden]
    assert {"sklearn/datasets/data", "sklearn/datasets/images", "sklearn/datasets/tests"} <= set(hidden)
    assert shown_in(SITE / "sklearn/datasets/data/digits.csv.gz") is None
    assert shown_in(SITE / "sklearn/datasets/_base.py") is not None
    assert shown_in(SITE / "matplotlib/mpl-data/sample_data") is None


def test_what_would_be_seen_is_refused_with_a_fix(tmp_path: Path) -> None:
    inside, outside = SITE / "torch/mine", tmp_path
    config = Config(dataset=DatasetConfig(source="folder", path=str(inside)))
    for cache, folder, what in ((inside, outside, "cache_dir=DIR"), (outside, inside, "outputs=DIR")):
        with pytest.raises(ConfigError, match=what):
            require_hidden(BubblewrapSandbox(), secrets_of(Config(), cache, folder))
    with pytest.raises(ConfigError, match=r"dataset\.path=DIR"):
        require_hidden(LandlockSandbox(), secrets_of(config, outside, outside))
    require_hidden(PlainSandbox(), secrets_of(config, inside, inside))
    require_hidden(BubblewrapSandbox(), secrets_of(Config(), outside, outside))


def test_folders_that_lead_to_what_is_shown_cannot_be_written_in_the_scratch_folder() -> None:
    """Where the program runs as our user, folders that bubblewrap makes are its own, unless they are mounted."""
    shown = bubblewrap.SCRATCH / "project" / "components"
    limits = Limits(1 << 30, 1 << 24, 1 << 16)
    command = " ".join(bubblewrap.command(Launch(cwd=shown, readable=[shown], limits=limits), 3, 4, 5))
    folder, mounted = f"--tmpfs {shown.parent} ", f"--ro-bind {shown} "
    assert command.index(folder) < command.index(mounted) < command.index(f"--remount-ro {shown.parent} ")
