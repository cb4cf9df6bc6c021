"""The curves of :mod:`mtmamba.bench.scaling` as a picture."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from mtmamba.bench import machine
from mtmamba.bench.report import Report

_QUANTITIES = {"seconds": ("time (s)", 1.0), "peak_bytes": ("peak memory (MiB)", 2.0**20)}
_COLORS = ("#1f5fa8", "#7f7f7f", "#d1701f")
_MARKERS = "os^"


def draw(report: Report, path: Path) -> None:
    """Time above, memory below; against pixels on the left, tasks on the right. The legend has the exponents."""
    figure = Figure(figsize=(11, 8), layout="constrained")
    panels = figure.subplots(2, 2)
    for line, (quantity, (label, unit)) in zip(panels, _QUANTITIES.items(), strict=True):
        for axes, (against, cases) in zip(line, report.extra["sweeps"].items(), strict=True):
            exponents = {
                fit["contender"]: fit["exponent"]
                for fit in report.extra["fits"]
                if (fit["quantity"], fit["against"]) == (quantity, against)
            }
            place = {case["case"]: case["side"] ** 2 if against == "pixels" else case["tasks"] for case in cases}
            contenders = list(dict.fromkeys(row.contender for row in report.rows if row.case in place))
            for contender, color, marker in zip(contenders, _COLORS, _MARKERS, strict=True):
                points = sorted(
                    (place[row.case], getattr(row, quantity) / unit)
                    for row in report.rows
                    if row.contender == contender and row.case in place and getattr(row, quantity)
                )
                if points:
                    exponent = f": {against}^{exponents[contender]:.2f}" if contender in exponents else ""
                    axes.plot(*zip(*points, strict=True), color=color, marker=marker, label=contender + exponent)
            axes.set(xscale="log", yscale="log", xlabel=against, ylabel=label)
            axes.set_xticks(list(place.values()), labels=_ticks(against, cases), minor=False)
            axes.minorticks_off()
            axes.grid(alpha=0.3)
            if axes.lines:
                axes.legend(frameon=False)
    phase = report.rows[-1].phase
    figure.suptitle(f"Decoder, {phase}, {report.extra['dtype']}\n{machine.name(report.machine)}", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _ticks(against: str, cases: list[dict[str, int]]) -> list[str]:
    return [f"{case['side']}²" if against == "pixels" else str(case["tasks"]) for case in cases]
