"""Results: rows, the ratios between them, tables for people and JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mtmamba.bench import machine
from mtmamba.bench.measure import Contender, Measured


@dataclass
class Row:
    """What one contender did in one case.

    Attributes:
        case: size, tasks and batch, in words.
        phase: "forward", "forward + backward", "inference" or "training step".
        contender: its name.
        seconds: median; None where nothing was measured, and then ``note`` says why.
        quartiles: of the samples, seconds; None for less than two.
        samples: how many.
        peak_bytes: beyond what was held before the call; None where unknown.
        speedup: seconds of the baseline in this case and phase / seconds.
        note: for people.
        figures: whatever else, by name and unit.
    """

    case: str
    phase: str
    contender: str
    seconds: float | None
    quartiles: tuple[float, float] | None
    samples: int
    peak_bytes: int | None
    speedup: float | None = None
    note: str = ""
    figures: dict[str, float] = field(default_factory=dict)


@dataclass
class Report:
    """All rows of a run, and what it takes to run it again.

    Attributes:
        benchmark: "scan", "model" or "scaling".
        command: the command line.
        machine: of :func:`mtmamba.bench.machine.describe`.
        baseline: the contender that speed-ups refer to.
        rows: the results.
        extra: what belongs to the run as a whole.
    """

    benchmark: str
    command: str
    machine: dict[str, Any]
    baseline: str
    rows: list[Row] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    def add(
        self,
        case: str,
        phase: str,
        contenders: Sequence[Contender],
        results: dict[str, Measured],
        figures: Callable[[str, float], dict[str, float]],
    ) -> list[Row]:
        """Rows of contenders that took turns; ``figures`` gives (contender, seconds) -> what else there is to say."""
        base = results[self.baseline].median if self.baseline in results else None
        rows = []
        for contender in contenders:
            result = results[contender.name]
            own = result.median
            row = Row(
                case, phase, contender.name, own, result.quartiles, len(result.samples), result.peak_bytes,
                note=result.note,
            )  # fmt: skip
            if own is not None:
                row.figures = figures(contender.name, own)
                row.speedup = base / own if base is not None and contender.compared else None
            rows.append(row)
        self.rows += rows
        return rows

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        content = {"date": datetime.now(UTC).strftime("%Y-%m-%d"), **asdict(self)}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """The rows of one case as text: the names of the columns, and a list per row."""
    figures = list(dict.fromkeys(name for row in rows for name in row.figures))
    names = ["phase", "contender", "median", "quartiles", "peak memory", *figures, "speed-up"]
    lines = []
    for row in rows:
        values = (row.figures.get(name) for name in figures)
        lines.append(
            [
                row.phase,
                row.contender,
                row.note if row.seconds is None else duration(row.seconds),
                " - ".join(duration(q) for q in row.quartiles) if row.quartiles else "",
                "" if row.peak_bytes is None else memory(row.peak_bytes),
                *("" if value is None else f"{value:.3g}" for value in values),
                "" if row.speedup is None else f"{row.speedup:.2f}x",
            ]
        )
    return names, lines


def print_rows(rows: Sequence[Row], baseline: str) -> None:
    """Print the rows of one case as a table."""
    names, lines = cells(rows)
    table = Table(title=rows[0].case, title_justify="left", caption=f"speed-up: over {baseline}")
    for name in names:
        left = name in ("phase", "contender")
        table.add_column(name, justify="left" if left else "right", no_wrap=left)
    for i, (phase, *others) in enumerate(lines):
        begins = i == 0 or phase != lines[i - 1][0]
        if begins and i:
            table.add_section()
        table.add_row(phase if begins else "", *map(escape, others))
    console().print(table)


def print_heading(report: Report) -> None:
    """Print which machine, and which command."""
    console().print(f"[bold]{escape(report.command)}[/] on {escape(machine.name(report.machine))}", highlight=False)


def console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 140)


@contextmanager
def progress(text: str) -> Iterator[Callable[[str], None]]:
    """Gives a function that shows what is being measured now, in a terminal only."""
    screen = Console(stderr=True)
    if not screen.is_terminal:
        yield lambda now: None
        return
    with screen.status(text) as status:
        yield lambda now: status.update(f"{text}: {escape(now)}")


def duration(seconds: float) -> str:
    """Three digits and a unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}" if seconds < 1000 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds / 1e-6:.3g} us"


def memory(size: int) -> str:
    """In MiB or GiB."""
    return f"{size / 2**20:.3g} MiB" if size < 1000 * 2**20 else f"{size / 2**30:.3g} GiB"
