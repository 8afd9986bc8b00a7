"""The manual page: groff reads it without a complaint, and it has every command and option."""

import shutil
import subprocess

import pytest
from tests.cli.conftest import Run
from tests.cli.test_main import every_command

from vmferry.cli.main import top


def test_page_has_every_command(vmferry: Run) -> None:
    code, page, err = vmferry("help", "--man")
    assert (code, err) == (0, "")
    for path, _ in every_command(top):
        assert f".SS vmferry {path}".replace("-", "\\-") in page
    assert "\\-\\-include\\-storage" in page


def test_groff_has_nothing_against_it(vmferry: Run) -> None:
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("groff is not installed")
    page = vmferry("help", "--man")[1]
    done = subprocess.run([groff, "-man", "-ww", "-Tutf8"], input=page, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Move a running VM to DESTINATION" in done.stdout
