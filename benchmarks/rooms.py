"""How many rooms per second one core renders, image and all targets: python benchmarks/rooms.py"""

import argparse
import time

from mtmamba.data.rooms import render_room


def images_per_second(size: tuple[int, int], count: int, repeats: int) -> float:
    """The best of several runs over the same rooms, so that other work on the machine counts little."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        for index in range(count):
            render_room(0, index, size)
        best = min(best, time.perf_counter() - start)
    return count / best


def main() -> None:
    """Print a table of sizes and speeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["64x80", "128x160", "256x320", "448x576"], metavar="HxW")
    parser.add_argument("--count", type=int, default=40, help="rooms per run")
    parser.add_argument("--repeats", type=int, default=3, help="runs, of which the best counts")
    arguments = parser.parse_args()
    render_room(0, 0, (32, 32))  # compile
    print("size       images/s  ms/image")
    for text in arguments.sizes:
        height, width = (int(part) for part in text.split("x"))
        speed = images_per_second((height, width), arguments.count, arguments.repeats)
        print(f"{text:9s} {speed:9.1f} {1000 / speed:9.2f}")


if __name__ == "__main__":
    main()
