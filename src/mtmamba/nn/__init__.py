"""Modules with a task axis: maps are (T, B, H, W, C), weights carry a leading T, and all tasks go in one call."""
