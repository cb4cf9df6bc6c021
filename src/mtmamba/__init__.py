"""MTMamba: multi-task dense scene understanding by Mamba decoders (arXiv 2407.02228, 2408.15101)."""

__version__ = "0.1.0"
