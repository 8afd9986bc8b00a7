"""What a commit goes through: the hooks of pre-commit, and the check of its message."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHECK = ROOT / "tools" / "commit-message"
LIMIT = 60.0


def refusal(folder: Path, message: str) -> str:
    """Return what the check says of a message; empty if the message passes."""
    file = folder / "COMMIT_EDITMSG"
    file.write_text(message)
    done = subprocess.run([CHECK, file], capture_output=True, text=True, check=False, timeout=LIMIT)
    assert (done.returncode == 0) == (done.stderr == ""), done
    return done.stderr


@pytest.mark.parametrize(
    "message",
    [
        "x" * 72,
        "Ü" * 72,  # characters are counted, not bytes
        "Write the step down\n\nWhy, at any length: " + "x" * 200,
        "# a comment of git's\n\nWrite the step down\n# another\n\nWhy.",
        "Write the step down\n# ------------------------ >8 ------------------------\ndiff --git a/x b/x",
        "fixup! " + "x" * 72,
    ],
)
def test_a_good_message_passes(tmp_path: Path, message: str) -> None:
    assert refusal(tmp_path, message) == ""


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ("x" * 73, "73 characters"),
        ("Write the step down.", "full stop"),
        ("Write the step down\nand why", "empty line"),
    ],
)
def test_a_message_that_reads_badly_in_a_list_is_refused(tmp_path: Path, message: str, why: str) -> None:
    assert why in refusal(tmp_path, message)


def test_the_hooks_run_as_they_are_configured(tmp_path: Path) -> None:
    """In a repository with the same configuration: a wrong file and a long subject are refused, all else is taken."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PYTEST_"))}
    environment |= {"HOME": str(tmp_path / "home"), "PRE_COMMIT_HOME": str(tmp_path / "cache")}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=LIMIT
        )

    def commit(subject: str) -> subprocess.CompletedProcess[str]:
        run("git", "add", "-A")
        return run("git", "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-m", subject)

    shutil.copy(ROOT / ".pre-commit-config.yaml", tmp_path)
    (tmp_path / "tools").mkdir()
    shutil.copy(CHECK, tmp_path / "tools")
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    (tmp_path / ".gitignore").write_text("/.venv\n/cache\n/home\n")
    assert run("git", "init", "-q").returncode == 0
    installed = run(str(Path(sys.executable).with_name("pre-commit")), "install")
    assert installed.returncode == 0, installed
    assert "72 are allowed" in commit("x" * 73).stderr
    done = commit("Take what is right")
    assert done.returncode == 0, done
    (tmp_path / "wrong.py").write_text("import os\n")
    done = commit("Take what is wrong")
    assert done.returncode != 0
    assert "F401" in done.stdout + done.stderr
