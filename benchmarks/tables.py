"""Writes the tables of benchmarks/results/*.json into docs/performance.md: python benchmarks/tables.py

A table goes between <!-- NAME --> and <!-- end NAME -->, NAME being the file's name without its extension. Places
without a file, and all text around them, stay as they are.
"""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

from mtmamba.bench import machine
from mtmamba.bench.report import Row, cells

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"


def main() -> None:
    """Fill every place for which there are results."""
    page = PAGE.read_text(encoding="utf-8")
    for path in sorted((HERE / "results").glob("*.json")):
        place = re.compile(rf"(<!-- {re.escape(path.stem)} -->\n).*?(<!-- end {re.escape(path.stem)} -->)", re.DOTALL)
        if not place.search(page):
            raise SystemExit(f"{PAGE} has no place for {path.name}: <!-- {path.stem} --> ... <!-- end {path.stem} -->")
        text = markdown(json.loads(path.read_text(encoding="utf-8")))
        page = place.sub(lambda found, text=text: f"{found[1]}{text}{found[2]}", page)
        print(f"{path.name}: written into {PAGE.name}")
    PAGE.write_text(page, encoding="utf-8")


def markdown(report: dict[str, Any]) -> str:
    """A line that names command, machine and date; a table per case; the exponents where there are some."""
    lines = [f"`{report['command']}` on {machine.name(report['machine'])}, {report['date']}. "]
    lines[0] += f"Speed-up: over {report['baseline']}."
    rows = [Row(**row) for row in report["rows"]]
    for case, group in itertools.groupby(rows, key=lambda row: row.case):
        lines += ["", f"**{case}**", "", *_table(*cells(list(group)))]
    if fits := report["extra"].get("fits"):
        names = ["quantity", "against", "contender", "exponent", "of the last step", "points"]
        keys = ("quantity", "against", "contender", "exponent", "last", "points")
        body = [[f"{fit[key]:.2f}" if isinstance(fit[key], float) else str(fit[key]) for key in keys] for fit in fits]
        lines += ["", "**Exponents**", "", *_table(names, body)]
    return "\n".join(lines) + "\n"


def _table(names: list[str], body: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(line)} |" for line in (names, ["---"] * len(names), *body)]


if __name__ == "__main__":
    main()
