"""How the cost grows with the number of files, with their size and with the distance: ``growth.png``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from benchmarks.peers import Ours, RcloneTuned, run
from benchmarks.servers import Place
from benchmarks.work import KiB, MiB, Scene, Work

PICTURE = Path(__file__).with_name("growth.png")

FILES = [100, 300, 1000, 3000]
SIZES = [1, 4, 16, 64, 256]
ROUND_TRIPS = [0, 10, 20, 40, 80]

Way = Literal["pull", "push"]
#: Each with the style of its line.
WAYS: dict[Way, str] = {"pull": "-", "push": "--"}


def plot(where: Place) -> None:
    """Measure each point once, this project beside rclone tuned, and draw them."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    figure, axes = pyplot.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
    panels: list[tuple[str, list[int], Callable[[int, Way], Work]]] = [
        ("files of 4 KiB", FILES, lambda x, way: Work("files", way, x, 4 * KiB, 10)),
        ("MiB, one file", SIZES, lambda x, way: Work("size", way, 1, x * MiB)),
        (
            "ms round trip, 200 x 4 KiB",
            ROUND_TRIPS,
            lambda x, way: Work("far", way, 200, 4 * KiB, 4, round_trip=x / 1000),
        ),
    ]
    for ax, (label, points, work_of) in zip(axes, panels, strict=True):
        for way, line in WAYS.items():
            for peer, colour in ((Ours(), "C0"), (RcloneTuned(), "C1")):
                seconds = [_seconds(peer, work_of(x, way), where) for x in points]
                ax.plot(points, seconds, line, marker="o", markersize=4, color=colour, label=f"{way}, {peer.name}")
                print(label, way, peer.name, [f"{s:.2f}" for s in seconds], file=sys.stderr, flush=True)
        ax.set_xlabel(label)
        ax.set_ylabel("seconds")
        ax.grid(alpha=0.3)
        if points is not ROUND_TRIPS:
            ax.set_xscale("log")
            ax.set_yscale("log")
            ax.set_xticks(points, [str(x) for x in points])
            ax.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
            ax.yaxis.set_major_formatter("{x:g}")
            ax.minorticks_off()
        else:
            ax.set_ylim(bottom=0)
    axes[2].legend()  # the one with room
    figure.savefig(PICTURE, dpi=110)
    print(f"{PICTURE} is made")


def _seconds(peer: Ours | RcloneTuned, work: Work, where: Place) -> float:
    scene = Scene(work, where)
    try:
        with where.at_distance(work.round_trip) as port:
            return run(peer, scene, where, port).seconds
    finally:
        scene.close()
