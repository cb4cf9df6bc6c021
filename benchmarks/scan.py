"""The selective scan's backends side by side: forward, and forward with backward, at the sizes of a decoder.

Reports state updates per second (4 D L N updates per image and group) and the ratio to the slowest backend measured
in the same run. The sequential reference is left out unless asked for: it takes minutes.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch

from mtmamba.ops import available_backends, selective_scan_2d

# groups, batch, height, width, channels, states, rank
SIZES = {
    "demo, finest stage": (6, 4, 24, 32, 32, 2, 2),
    "NYUDv2, 1/16": (1, 1, 28, 36, 1536, 16, 48),
    "NYUDv2, 1/8": (1, 1, 56, 72, 768, 16, 24),
    "NYUDv2, 1/4": (1, 1, 112, 144, 384, 16, 12),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="example: python benchmarks/scan.py --repeats 3 --backends cpu parallel"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--backends", nargs="+", help="default: all of the device but reference")
    parser.add_argument("--repeats", type=int, default=3, help="the median is reported (3)")
    options = parser.parse_args()
    device = torch.device(options.device)
    backends = options.backends or [name for name in available_backends(device) if name != "reference"]
    place = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or platform.machine()
    print(f"{place}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{'size':20} {'backend':10} {'forward':>21} {'forward + backward':>21} {'ratio':>7}")
    for label, size in SIZES.items():
        inputs = make_inputs(*size, device=device)
        G, B, H, W, D, N, _ = size
        updates = G * B * H * W * 4 * D * N
        rows = []
        for backend in backends:
            times = measure(inputs, backend, options.repeats, device)
            rows.append((backend, *times))
        slowest = max(total for _, _, total in rows)
        for backend, forward, total in rows:
            print(
                f"{label:20} {backend:10} {forward * 1e3:8.1f} ms {updates / forward / 1e9:5.2f} G/s "
                f"{total * 1e3:8.1f} ms {updates / total / 1e9:5.2f} G/s {slowest / total:6.1f}x"
            )


def make_inputs(G: int, B: int, H: int, W: int, D: int, N: int, R: int, device: torch.device) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(G, B, H, W, D), (G, B, H, W, 4, R + 2 * N), (G, 4, D, R), (G, 4, D), (G, 4, D, N), (G, 4, D)]
    inputs = [torch.randn(*shape, generator=generator) for shape in shapes]
    inputs[2] *= R**-0.5
    inputs[3] -= 3
    inputs[4] = torch.arange(1.0, N + 1).log().expand(G, 4, D, N).contiguous()
    return [tensor.to(device).requires_grad_() for tensor in inputs]


def measure(inputs: list[torch.Tensor], backend: str, repeats: int, device: torch.device) -> tuple[float, float]:
    """Median seconds of forward, and of forward with backward; the first call (compilation) is not counted."""

    def forward() -> None:
        with torch.no_grad():
            selective_scan_2d(*inputs, backend=backend)

    def both() -> None:
        torch.autograd.grad(selective_scan_2d(*inputs, backend=backend).sum(), inputs)

    def timed(call: Callable[[], None]) -> float:
        call()
        seconds = []
        for _ in range(repeats):
            if device.type == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter()
            call()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
        return statistics.median(seconds)

    return timed(forward), timed(both)


if __name__ == "__main__":
    main()
