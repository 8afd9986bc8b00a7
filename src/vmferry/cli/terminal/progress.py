"""Progress of a move: a live display on a terminal, plain lines elsewhere, JSON lines for programs."""

import json
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vmferry.cli.terminal.units import duration, rate, size
from vmferry.core.job import Phase, Progress

EVERY = 5.0  # seconds between plain lines


class ProgressView:
    """Shows the progress of one job. This base class shows nothing."""

    def phase(self, phase: Phase) -> None:
        """Show that a phase has started."""

    def progress(self, progress: Progress) -> None:
        """Show the progress of the copy."""

    def message(self, text: str) -> None:
        """Show a message."""

    def close(self) -> None:
        """Restore the terminal."""


def view(stream: TextIO, title: str, *, as_json: bool, quiet: bool = False) -> ProgressView:
    """Return the view for a stream.

    Arguments:
        title: the move, e.g. "web01 to kvm2".
    """
    if quiet:
        return ProgressView()
    if as_json:
        return JsonView(stream)
    if stream.isatty():
        return LiveView(Console(file=stream), title)
    return LineView(stream, title)


def words(phase: Phase) -> str:
    """Return a phase in words."""
    return phase.value.replace("-", " ")


def facts(progress: Progress) -> list[str]:
    """Return the numbers of a running copy, most important first, without those that are not known."""
    total, done = progress.disk_total + progress.memory_total, progress.disk_done + progress.memory_done
    said = []
    if total:
        said.append(f"{size(min(done, total))} of {size(total)}")
    if progress.rate:
        said.append(rate(progress.rate))
    if progress.estimated is not None:
        total_time = max(progress.estimated, progress.elapsed)
        said.append(f"{duration(progress.elapsed)} of about {duration(total_time)}")
    elif progress.elapsed:
        said.append(duration(progress.elapsed))
    if progress.remaining:
        said.append(f"{size(progress.remaining)} remaining")
    if progress.dirty_rate:
        said.append(f"dirty {rate(progress.dirty_rate)}")
    return said


class LineView(ProgressView):
    """Prints a line for each phase, and one every few seconds, for logs and pipes."""

    def __init__(self, stream: TextIO, title: str) -> None:
        self._stream = stream
        self._title = title
        self._phase: Phase | None = None
        self._said_at = 0.0  # in elapsed time of the job, so that a job that makes no progress prints nothing

    def phase(self, phase: Phase) -> None:
        """Print a line if the phase is new."""
        if phase is not self._phase:
            self._phase = phase
            self._say(words(phase))

    def progress(self, progress: Progress) -> None:
        """Print a line if the last one is some seconds old."""
        self.phase(progress.phase)
        if progress.elapsed - self._said_at >= EVERY:
            self._said_at = progress.elapsed
            percent = f" {progress.percent:.1f} %" if progress.percent is not None else ""
            self._say(f"{words(progress.phase)}{percent}: {', '.join(facts(progress))}")

    def message(self, text: str) -> None:
        """Print it."""
        self._say(text)

    def _say(self, text: str) -> None:
        print(f"{self._title}: {text}", file=self._stream, flush=True)


class JsonView(ProgressView):
    """Prints one JSON object per line, with one key: `phase`, `progress` or `message` (docs/json.md)."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def phase(self, phase: Phase) -> None:
        """Print it."""
        self._say({"phase": phase.value})

    def progress(self, progress: Progress) -> None:
        """Print it."""
        self._say({"progress": progress.model_dump(mode="json")})

    def message(self, text: str) -> None:
        """Print it."""
        self._say({"message": text})

    def _say(self, document: object) -> None:
        print(json.dumps(document), file=self._stream, flush=True)


class LiveView(ProgressView):
    """Draws two lines again and again, and removes them at the end."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._progress = Progress(phase=Phase.OFFERED)
        self._live = Live(self.render(), console=console, transient=True, refresh_per_second=8)
        self._live.start()

    def phase(self, phase: Phase) -> None:
        """Show the phase with the latest numbers."""
        self._show(self._progress.model_copy(update={"phase": phase}))

    def progress(self, progress: Progress) -> None:
        """Show it."""
        self._show(progress)

    def message(self, text: str) -> None:
        """Print the message above the two lines."""
        self._console.print(Text(text))

    def close(self) -> None:
        """Remove the display and restore the cursor."""
        self._live.stop()

    def _show(self, progress: Progress) -> None:
        self._progress = progress
        self._live.update(self.render())

    def render(self) -> RenderableType:
        """Return the two lines for the present width of the terminal."""
        now = self._progress
        phase = words(now.phase)
        # Without a percentage the bar pulses: the copy makes progress, but its size is not known.
        known = now.percent is not None
        room = self._console.width - len(self._title) - len(phase) - len("  " * 3 + "100.0 %")
        width = min(max(room, 3), 30)
        bar = ProgressBar(total=100 if known else None, completed=now.percent or 0, pulse=not known, width=width)
        line = Table.grid(padding=(0, 2))
        for style in ("", "bold", "", ""):
            line.add_column(no_wrap=True, style=style)
        line.add_row(self._title, phase, bar, f"{now.percent:.1f} %" if known else "")
        return Group(line, Text("   ".join(facts(now)), style="dim", overflow="ellipsis", no_wrap=True))
