"""The table: medians, ratios, and the floors that are met or not."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from benchmarks.peers import Took
from benchmarks.work import GiB, MiB, Work

OURS = "this project"
#: The bounds that hold for every row: MiB above the interpreter, and CPU against rclone's.
MEMORY_BOUND, CPU_BOUND = 200, 1.3


@dataclass
class Result:
    """What one peer took for one row, over all rounds, scaled to all files where it did only a part."""

    work: Work
    peer: str
    runs: list[Took] = field(default_factory=list)
    scale: float = 1.0

    @property
    def seconds(self) -> float:
        return median(run.seconds for run in self.runs) * self.scale

    @property
    def cpu(self) -> float:
        return median(run.cpu for run in self.runs) * self.scale

    @property
    def memory(self) -> float:
        """Return the peak of all runs, in MiB."""
        return max(run.memory for run in self.runs) / MiB

    def cells(self, ours: Result | None) -> list[str]:
        """Return the line of the table."""
        times = [run.seconds * self.scale for run in self.runs]
        return [
            self.peer + (f" ({round(self.work.files / self.scale)} files, scaled)" if self.scale != 1 else ""),
            f"{self.seconds:.2f}",
            f"{min(times):.2f}-{max(times):.2f}",
            f"{self.work.files / self.seconds:,.0f}",
            f"{self.work.bytes / MiB / self.seconds:,.1f}",
            f"{self.cpu:.2f}",
            f"{self.cpu * 1000 / self.work.files:.2f}" if self.work.files >= 100 else "",
            f"{self.cpu * GiB / self.work.bytes:.2f}" if self.work.bytes >= 100 * MiB else "",
            f"{self.memory:.0f}",
            f"{self.seconds / ours.seconds:.2f}x" if ours else "",
        ]


HEAD = ["", "s", "min-max", "files/s", "MiB/s", "CPU s", "CPU/1000", "CPU/GiB", "peak MiB", "ours is"]


def show(work: Work, results: dict[str, Result]) -> str:
    """Return one row's table."""
    rows = [[work.name, *HEAD[1:]], *(result.cells(results.get(OURS)) for result in results.values())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = []
    for row in rows:
        name, *cells = (
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([name, *cells]))
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join(lines)


@dataclass(frozen=True)
class Check:
    """One floor or bound, and what came out."""

    work: str
    what: str
    wanted: str
    measured: str
    met: bool

    def __str__(self) -> str:
        return f"{'met    ' if self.met else 'NOT MET'}  {self.work}: {self.what} {self.measured}, wanted {self.wanted}"


def checks(work: Work, results: dict[str, Result]) -> list[Check]:
    """Hold one row to its floors and bounds, as far as the peers took part."""
    ours = results.get(OURS)
    if ours is None:
        return []
    found = []
    for kind, floor in (("rclone", work.floor.rclone), ("Amazon", work.floor.official)):
        peers = [result for name, result in results.items() if name.startswith(kind)]
        if floor and peers:
            ratio = min(peer.seconds for peer in peers) / ours.seconds
            found.append(Check(work.name, f"as fast as {kind}", f"{floor}x", f"{ratio:.2f}x", ratio >= floor))
    memory = Check(work.name, "peak MiB", f"<= {MEMORY_BOUND}", f"{ours.memory:.0f}", ours.memory <= MEMORY_BOUND)
    found.append(memory)
    rclones = [result for name, result in results.items() if name.startswith("rclone")]
    if rclones and work.direction != "list":
        faster = min(rclones, key=lambda result: result.seconds)
        ratio = ours.cpu / faster.cpu
        found.append(
            Check(work.name, f"CPU of {faster.peer}'s", f"<= {CPU_BOUND}x", f"{ratio:.2f}x", ratio <= CPU_BOUND)
        )
    return found
