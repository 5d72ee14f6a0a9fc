"""
The diagrams of the site: ``python -m docs.diagrams`` draws them into docs/diagrams, as SVG.

They are kept in the repository, so that they show wherever the pages are read; a test holds them up to date.
"""

from __future__ import annotations

import html
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from tests.support.retry_table import STATES, TABLE

PLACE = Path(__file__).parent / "diagrams"
INK, PAPER, FILL, QUIET = "#1f2933", "#ffffff", "#eef3f8", "#52606d"
#: Width of a letter and height of a line, in the units of the drawing.
LETTER, LINE = 6.6, 15.0

Point = tuple[float, float]


class Drawing:
    """An SVG in the making. Its origin is at the top left."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self._size = (width, height)
        self._title = title
        self._shapes: list[str] = []

    def box(
        self, at: Point, width: float, text: str, *, round_: float = 4, fill: str = FILL, height: float = 0
    ) -> None:
        """Draw a box with its text in the middle; `at` is the middle of the box."""
        lines = text.splitlines()
        height = height or len(lines) * LINE + 14
        x, y = at[0] - width / 2, at[1] - height / 2
        self._shapes.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{round_:g}" '
            f'fill="{fill}" stroke="{INK}"/>'
        )
        self.text((at[0], at[1]), text)

    def frame(self, left: float, top: float, width: float, height: float, text: str) -> None:
        """Draw a dashed frame around other things, its text at the top left."""
        self._shapes.append(
            f'<rect x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" rx="6" fill="none" stroke="{QUIET}" '
            'stroke-dasharray="5 4"/>'
        )
        self.text((left + 10, top + 16), text, anchor="start", colour=QUIET)

    def text(self, at: Point, text: str, *, anchor: str = "middle", colour: str = INK, halo: bool = False) -> None:
        """Write lines of text around a point."""
        lines = text.splitlines()
        top = at[1] - (len(lines) - 1) * LINE / 2 + 4
        around = f' stroke="{PAPER}" stroke-width="4" paint-order="stroke"' if halo else ""
        for number, line in enumerate(lines):
            self._shapes.append(
                f'<text x="{at[0]:g}" y="{top + number * LINE:g}" text-anchor="{anchor}" fill="{colour}"{around}>'
                f"{html.escape(line)}</text>"
            )

    def line(self, points: Sequence[Point], *, dashed: bool = False, head: bool = True) -> None:
        """Draw a line through points, with an arrow's head at its end."""
        style = (' stroke-dasharray="4 3"' if dashed else "") + (' marker-end="url(#head)"' if head else "")
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self._shapes.append(f'<polyline points="{path}" fill="none" stroke="{INK}"{style}/>')

    def curve(self, start: Point, end: Point, bend: float, text: str) -> None:
        """Draw an arrow that bends to its left by so much, with a text at its middle."""
        length = math.dist(start, end)
        across = ((end[1] - start[1]) / length, (start[0] - end[0]) / length)
        middle = ((start[0] + end[0]) / 2 + across[0] * bend, (start[1] + end[1]) / 2 + across[1] * bend)
        self._shapes.append(
            f'<path d="M{start[0]:g},{start[1]:g} Q{middle[0]:.1f},{middle[1]:.1f} {end[0]:g},{end[1]:g}" fill="none" '
            f'stroke="{INK}" marker-end="url(#head)"/>'
        )
        on_it = (start[0] / 4 + middle[0] / 2 + end[0] / 4, start[1] / 4 + middle[1] / 2 + end[1] / 4)
        self.text((round(on_it[0], 1), round(on_it[1], 1)), text, halo=True)

    def svg(self) -> str:
        width, height = self._size
        head = f'<path d="M0,0 L8,4 L0,8 z" fill="{INK}"/>'
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
                'role="img" font-family="Helvetica, Arial, sans-serif" font-size="12">',
                f"<title>{html.escape(self._title)}</title>",
                f'<defs><marker id="head" markerWidth="8" markerHeight="8" refX="8" refY="4" orient="auto">{head}'
                "</marker></defs>",
                f'<rect width="100%" height="100%" fill="{PAPER}"/>',
                *self._shapes,
                "</svg>\n",
            ]
        )


def activity(title: str, steps: Sequence[tuple[str, str]]) -> str:
    """
    Draw steps beneath one another, beside some of them where they lead otherwise.

    :param steps: each a text and, where it may end otherwise, how: "" for a step that only leads on.
    """
    width, gap = 330.0, 22.0
    heights = [len(text.splitlines()) * LINE + 14 for text, _ in steps]
    drawing = Drawing(760, sum(heights) + gap * (len(steps) + 1), title)
    top = gap
    for number, ((text, otherwise), height) in enumerate(zip(steps, heights, strict=True)):
        middle = top + height / 2
        end = number in (0, len(steps) - 1)
        drawing.box((190, middle), width, text, round_=14 if end else 4)
        if otherwise:
            drawing.line([(190 + width / 2, middle), (430, middle)])
            drawing.text((438, middle), otherwise, anchor="start", colour=QUIET)
        if number < len(steps) - 1:
            drawing.line([(190, top + height), (190, top + height + gap)])
        top += height + gap
    return drawing.svg()


def sequence(title: str, actors: Sequence[str], messages: Sequence[tuple[int, int, str]]) -> str:
    """
    Draw who says what to whom.

    :param messages: from which actor, to which, and what; one to itself is what it does.
    """
    apart, step, top = 250.0, 34.0, 30.0
    left = 90.0
    height = top + 30 + step * len(messages) + 20
    drawing = Drawing(left * 2 + apart * (len(actors) - 1), height, title)
    for number, actor in enumerate(actors):
        x = left + apart * number
        drawing.line([(x, top + 15), (x, height - 10)], dashed=True, head=False)
        drawing.box((x, top), 130, actor)
    for number, (source, target, text) in enumerate(messages):
        y = top + 45 + step * number
        start, end = left + apart * source, left + apart * target
        if source == target:
            drawing.box((start, y), len(text) * LETTER + 16, text, fill="#fff7e0")
            continue
        drawing.line([(start, y), (end, y)], dashed=text.startswith("("))
        drawing.text(((start + end) / 2, y - 9), text.strip("()") if text.startswith("(") else text, halo=True)
    return drawing.svg()


def whereabouts(title: str, moments: Sequence[str], places: Sequence[tuple[str, int, int, str]]) -> str:
    """
    Draw in which places a whole file is, moment by moment: whoever cuts the picture at any moment cuts a bar.

    :param moments: what is done, or has just been done, from left to right.
    :param places: each a name, from which moment to which the file is there, and what is said of that. A text in
        brackets is of something else than the whole file, and is drawn as a frame.
    """
    left, wide, high = 190.0, 128.0, 34.0
    drawing = Drawing(left + wide * len(moments) + 20, 60 + high * len(places) + 14, title)
    for number, moment in enumerate(moments):
        x = left + wide * number
        drawing.text((x + wide / 2, 28), moment)
        drawing.line([(x, 12), (x, 60 + high * len(places))], dashed=True, head=False)
    for number, (place, start, end, text) in enumerate(places):
        y = 72 + high * number
        drawing.text((left - 12, y), place, anchor="end", colour=QUIET)
        middle, long = left + wide * (start + end) / 2, wide * (end - start) - 8
        if text.startswith("("):
            drawing.frame(middle - long / 2, y - 13, long, 26, "")
            drawing.text((middle, y), text.strip("()"), colour=QUIET, halo=True)
        else:
            drawing.box((middle, y), long, text, fill="#d5e8d4", height=26)
    return drawing.svg()


def states() -> str:
    """Draw the six states of an object, and what leads from one to the next, from the table that the tests hold."""
    left, right, wide = 270, 730, 180
    places = {state: ((left, right)[(state - 1) % 2], 60 + 220 * ((state - 1) // 2)) for state in STATES.values()}
    drawing = Drawing(1000, 560, "The states of an object that is pushed")
    leads: dict[tuple[int, int], list[str]] = defaultdict(list)
    for (state, event), following in TABLE.items():
        leads[state, following].append(event_name(event))
    for (state, following), events in leads.items():
        (x, y), (to_x, to_y) = places[state], places[following]
        text, outwards = "\n".join(events), -1 if x == left else 1
        side = outwards * wide / 2
        if state == following:
            away = side + outwards * 26
            drawing.line([(x + side, y - 12), (x + away, y - 12), (x + away, y + 12), (x + side, y + 12)])
            drawing.text((x + away, y + 26 + LINE * len(events) / 2), text, halo=True)
        elif abs(to_y - y) > 220:  # past the state between
            drawing.curve((x + side, y), (to_x + side, to_y), -outwards * 200, text)
        elif x == to_x:
            down = 25 if to_y > y else -25
            drawing.curve((x, y + down), (to_x, to_y - down), 110 if (following, state) in leads else 0, text)
        else:
            drop = 0 if y == to_y else 25
            drawing.curve((x - side, y + drop), (to_x + side, to_y - drop), 0, text)
    for (exists, synced, held), state in STATES.items():
        what = ("at the partner, marked" if synced else "not pushed") if exists else "no object"
        waits = "\na retry holds its key" if held else ""
        drawing.box(places[state], wide, f"{state}: {what}{waits}", round_=20, height=50)
    return drawing.svg()


def event_name(event: str) -> str:
    """Return an event of sftp-lambda's table in this project's words."""
    words = {"put new object": "new object", "overwrite object": "overwritten", "deletes object": "deleted"}
    return words.get(event, event.replace("pushRetry", "retry"))


def states_table() -> str:
    """Return the table of docs/marks.md: the state that each event leads to."""
    events = list(dict.fromkeys(event for _, event in TABLE))
    order = ["put new object", "overwrite object", "push works", "push fails", "pushRetry skips", "pushRetry works"]
    events.sort(key=lambda event: order.index(event) if event in order else len(order) + ("deletes" in event))
    rows = [["state", "object", "marked", "a retry holds its key", *map(event_name, events)]]
    for (exists, synced, held), state in STATES.items():
        facts = ["yes" if exists else "no", ("yes" if synced else "no") if exists else "-", "yes" if held else "no"]
        rows.append([str(state), *facts, *(str(TABLE.get((state, event), "-")) for event in events)])
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def network() -> str:
    """Draw where MWAA's workers are, and which address a partner sees."""
    drawing = Drawing(860, 380, "The way from MWAA's workers to a partner's SFTP server by a fixed address")
    drawing.frame(20, 20, 560, 340, "your VPC")
    drawing.frame(40, 55, 240, 280, "private subnets")
    drawing.frame(320, 55, 240, 190, "public subnets")
    drawing.box((160, 110), 190, "MWAA worker\navailability zone a")
    drawing.box((160, 190), 190, "MWAA worker\navailability zone b")
    drawing.box((160, 290), 190, "gateway endpoint\nfor S3")
    drawing.box((440, 110), 190, "NAT gateway a\nelastic IP 198.51.100.7")
    drawing.box((440, 190), 190, "NAT gateway b\nelastic IP 203.0.113.9")
    drawing.box((720, 150), 200, "partner's SFTP server\nallows 198.51.100.7\nand 203.0.113.9")
    drawing.box((720, 290), 200, "Amazon S3")
    drawing.line([(255, 110), (345, 110)])
    drawing.line([(255, 190), (345, 190)])
    drawing.line([(535, 110), (600, 110), (600, 135), (620, 135)])
    drawing.line([(535, 190), (600, 190), (600, 165), (620, 165)])
    drawing.line([(160, 212), (160, 268)])
    drawing.line([(255, 290), (620, 290)])
    return drawing.svg()


def drawings() -> dict[str, str]:
    """Return every diagram by the name of its file."""
    return {
        "pull-activity.svg": activity(
            "What a pull does with one file",
            [
                ("listed: a regular file,\nno younger than min_age", "else skipped, with that reason"),
                ("its path becomes a key", "refused: the file fails, the others go on"),
                (
                    "could it be moved into .done afterwards?\n(asked once for each directory)",
                    "no: fails before any upload, naming after_transfer",
                ),
                (
                    "OPEN, FSTAT, READ to the end, FSTAT;\nthe bytes go to S3 as they come",
                    "cut, changed, too short: the upload is aborted,\nthe file stays where it is",
                ),
                ("S3 has answered: the object is complete", "refused: the file stays where it is"),
                ("CLOSE, RENAME into .done", "crash before: the next run uploads it again"),
                ("is it the file that was read?", "no: it is uploaded once more, from .done"),
                ("stamped with the time of the move", ""),
            ],
        ),
        "push-activity.svg": activity(
            "What a push does with one object",
            [
                ("listed beneath the prefix,\nor named by its key", ""),
                ("asked for: GET with its mark", "marked, gone, excluded: skipped, with that reason"),
                ("its key becomes a path", "refused: the object fails, the others go on"),
                (
                    "can it be marked?\n(asked once a run, before the first delivery)",
                    "no: the run ends and delivers nothing",
                ),
                ("written as .<id>.part beside its target", "cut, refused: the temporary file is removed"),
                ("size compared, synced to disk", "differs: removed, fails"),
                ("renamed over the target", "crash after: delivered a second time by the next run"),
                ("marked, on the condition that it is\nstill what was sent", "overwritten meanwhile: taken again"),
                ("skipped by every later run", ""),
            ],
        ),
        "pull-sequence.svg": sequence(
            "Who says what in a pull",
            ["SFTP server", "worker", "S3"],
            [
                (1, 0, "login, READDIR"),
                (0, 1, "(names, sizes, times)"),
                (1, 0, "OPEN, FSTAT, READ ..."),
                (1, 2, "PUT, while it is read"),
                (1, 0, "READ at the end, FSTAT"),
                (0, 1, "(end of file, the same size)"),
                (2, 1, "(200: it is complete)"),
                (1, 1, "only now"),
                (1, 0, "CLOSE, RENAME into .done"),
                (1, 0, "LSTAT: is it that file?"),
                (1, 0, "SETSTAT: the time of the move"),
            ],
        ),
        "push-sequence.svg": sequence(
            "Who says what in a push, and in its retry",
            ["S3", "worker", "SFTP server"],
            [
                (1, 0, "list the prefix; GET, bound to one ETag"),
                (1, 2, "OPEN .<id>.part, WRITE ..."),
                (2, 1, "(each write is acknowledged)"),
                (1, 2, "FSTAT, fsync, CLOSE"),
                (1, 2, "RENAME over the target"),
                (1, 0, "mark, if it still has that ETag"),
                (0, 1, "(200)"),
                (1, 1, "where something failed: the task's retry"),
                (1, 2, "remove what an earlier try has left"),
                (1, 0, "GET what the failed try had"),
                (0, 1, "(marked: skip it)"),
                (0, 1, "(not marked: push it, as above)"),
            ],
        ),
        "pull-whereabouts.svg": whereabouts(
            "Where a pulled file is",
            ["it is read", "S3 has\nanswered", "moved", "its retention\nis over"],
            [
                ("its directory", 0, 2, "the file"),
                ("S3", 0, 1, "(not to be seen yet)"),
                ("S3", 1, 4, "the object"),
                (".done", 2, 3, "the file"),
            ],
        ),
        "push-whereabouts.svg": whereabouts(
            "Where a pushed object is",
            ["it is written", "whole, and\ncompared", "renamed", "marked"],
            [
                ("S3", 0, 4, "the object"),
                ("partner: .<id>.part", 0, 1, "(half of it)"),
                ("partner: .<id>.part", 1, 2, "the file"),
                ("partner: its own name", 0, 2, "(the older file, if there was one)"),
                ("partner: its own name", 2, 4, "the file"),
                ("mark in S3", 3, 4, "at the partner"),
            ],
        ),
        "states.svg": states(),
        "network.svg": network(),
    }


if __name__ == "__main__":
    PLACE.mkdir(exist_ok=True)
    for name, text in drawings().items():
        (PLACE / name).write_text(text)
