"""How a running move looks, apart from a real terminal (test_terminal.py)."""

import io
import json

import pytest
from rich.console import Console
from tests.cli.fake import copying

from vmferry.cli.terminal.progress import JsonView, LineView, LiveView, view
from vmferry.core.job import Phase, Progress


def test_view_fits_where_it_goes() -> None:
    assert isinstance(view(io.StringIO(), "web01 to kvm2", as_json=False), LineView)
    assert isinstance(view(io.StringIO(), "web01 to kvm2", as_json=True), JsonView)


def test_lines_come_with_each_phase_and_every_few_seconds() -> None:
    stream = io.StringIO()
    shown = LineView(stream, "web01 to kvm2")
    for tenth in range(200):
        shown.progress(copying(tenth / 2, tenth / 10))
    shown.phase(Phase.COMMITTING)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "web01 to kvm2: copying"
    assert [line.split()[4] for line in lines[1:-1]] == ["25.0", "50.0", "75.0"]
    assert lines[-1] == "web01 to kvm2: committing"


def test_what_is_not_known_is_not_shown() -> None:
    stream = io.StringIO()
    LineView(stream, "web01 to kvm2").progress(Progress(phase=Phase.CONNECTING, elapsed=7.0))
    assert stream.getvalue().splitlines()[-1] == "web01 to kvm2: connecting: 7.0 s"


def test_json_lines_have_one_property_each() -> None:
    stream = io.StringIO()
    shown = JsonView(stream)
    shown.phase(Phase.COPYING_FILES)
    shown.progress(copying(10, 1))
    shown.message("hello")
    shown.close()
    first, second, third = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first == {"phase": "copying-files"}
    assert Progress.model_validate(second["progress"]) == copying(10, 1)
    assert third == {"message": "hello"}


@pytest.mark.parametrize("width", [120, 80, 60, 45])
def test_live_view_fits_the_terminal(width: int) -> None:
    # With the height it is this size whatever $TERM says: rich takes a dumb terminal for 80 columns otherwise.
    terminal = Console(file=io.StringIO(), width=width, height=25, force_terminal=True, color_system=None)
    paper = Console(file=io.StringIO(), width=width, height=25, color_system=None)
    shown = LiveView(terminal, "web01 to kvm2")
    try:
        shown.progress(copying(42, 3))
        with paper.capture() as captured:
            paper.print(shown.render())
    finally:
        shown.close()
    lines = captured.get().splitlines()
    assert len(lines) == 2
    assert "web01 to kvm2  copying" in lines[0]
    assert "42.0 %" in lines[0]
    assert "1.26 GiB of 3 GiB   300 MiB/s" in lines[1]
