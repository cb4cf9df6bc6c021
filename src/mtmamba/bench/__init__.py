"""Measurements of speed and memory: ``mtmamba bench scan``, ``model`` and ``scaling``.

They are part of the package, and not scripts beside it, so that whoever has installed it can ask what *their* machine
does with one command, and gets the baselines with it. The folder ``benchmarks/`` of the repository keeps results.

Three rules hold for every figure. Contenders are timed in turns within one process (:mod:`mtmamba.bench.measure`), so
that whatever else the machine does hits all of them alike, and only ratios from one run are called ratios. A figure
comes with its spread and with the machine's name. What was not run says why, in the row where the figure would be.
"""
