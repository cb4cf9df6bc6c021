"""Results as people and papers have them: a table on the screen, Markdown, LaTeX, JSON, and Delta_m."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from mtmamba.metrics import delta_m
from mtmamba.tasks import Task
from mtmamba.training.evaluate import Results


def screen(results: Results, tasks: Sequence[Task], constant: Results | None = None) -> Table:
    """Every metric of every task; beside it what a constant answer gets."""
    table = Table("task", "metric", "value")
    if constant is not None:
        table.add_column("constant answer")
        table.add_column("ratio")
    for column in table.columns[2:]:
        column.justify = "right"
    for task in tasks:
        for key, value in results[task.name].items():
            row = [task.name, f"[bold]{key}[/]" if key == task.reported else key, f"{value:.4f}"]
            if constant is not None and key in constant[task.name]:
                base = constant[task.name][key]
                row += [f"{base:.4f}", f"{value / base:.2f}x" if base else "-"]
            table.add_row(*row)
        table.add_section()
    return table


def markdown(results: Results, tasks: Sequence[Task]) -> str:
    """Every metric of every task, a row each; an arrow says which way is better for the task's own number."""
    lines = ["| task | metric | value |", "| --- | --- | ---: |"]
    for task in tasks:
        for key, value in results[task.name].items():
            lines.append(f"| {task.name} | {key}{_arrow(task, key)} | {value:.4f} |")
    return "\n".join(lines) + "\n"


def latex(results: Results, tasks: Sequence[Task]) -> str:
    """One row of a paper's table: each task's own number under its name, in percent where it is a fraction."""
    names, values = [], []
    for task in tasks:
        key = task.reported
        arrow = r"$\uparrow$" if task.higher_is_better else r"$\downarrow$"
        fraction = task.higher_is_better  # mIoU, maxF, odsF; errors have units
        unit = r" [\%]" if fraction else ""
        names.append(f"{_escaped(task.name)} {_escaped(key)}{unit} {arrow}")
        values.append(f"{100 * results[task.name][key]:.2f}" if fraction else f"{results[task.name][key]:.4f}")
    columns = "c" * len(names)
    return (
        f"\\begin{{tabular}}{{{columns}}}\n\\hline\n{' & '.join(names)} \\\\\n\\hline\n"
        f"{' & '.join(values)} \\\\\n\\hline\n\\end{{tabular}}\n"
    )


def delta_m_against(results: Results, baseline: Path, tasks: Sequence[Task]) -> float:
    """Mean relative change of every task's number against those in a file that ``--json`` wrote, in percent.

    Raises:
        ValueError: the file is not one of these, or lacks a task.
    """
    try:
        before = json.loads(baseline.read_text(encoding="utf-8"))["metrics"]
        numbers = {task.name: before[task.name][task.reported] for task in tasks}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{baseline} has not every task's metric, as `mtmamba eval --json` writes it: {error}"
        ) from error
    own = {task.name: results[task.name][task.reported] for task in tasks}
    return delta_m(own, numbers, {task.name: task.higher_is_better for task in tasks})


def _arrow(task: Task, key: str) -> str:
    if key != task.reported:
        return ""
    return " ↑" if task.higher_is_better else " ↓"


def _escaped(text: str) -> str:
    return text.replace("_", r"\_")
