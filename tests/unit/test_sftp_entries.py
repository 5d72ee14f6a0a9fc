"""What a directory holds is read to its end, from a server that answers as it likes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import pytest

from airflow_provider_sftp_s3.engine.errors import ConnectionFailed, ServerRefused
from airflow_provider_sftp_s3.engine.model import Stat
from airflow_provider_sftp_s3.engine.sftp import entries
from airflow_provider_sftp_s3.engine.sftp.entries import MAX_LISTINGS_AHEAD, MAX_REPEATED, entries_of
from airflow_provider_sftp_s3.engine.sftp.protocol import Entry, SftpProtocol

pytestmark = pytest.mark.unit


def names(*each: bytes) -> list[Entry]:
    return [Entry(name, "file", Stat(1, 2)) for name in each]


class Answers(SftpProtocol):
    """Gives one answer after the other to READDIR, each a moment later; behind the last one that there is no more."""

    def __init__(self, answer: Callable[[int], list[Entry] | Exception]) -> None:
        super().__init__(lambda pieces: None, 1)
        self.answer = answer
        self.asked: deque[asyncio.Future[list[Entry]]] = deque()
        self.given = self.most = 0

    def read_directory(self, handle: bytes, path: bytes) -> asyncio.Future[list[Entry]]:
        self.asked.append(asyncio.get_running_loop().create_future())
        self.most = max(self.most, len(self.asked))
        asyncio.get_running_loop().call_soon(self._give)
        return self.asked[-1]

    def _give(self) -> None:
        asked, found = self.asked.popleft(), self.answer(self.given)
        self.given += 1
        if asked.cancelled():
            return
        if isinstance(found, Exception):
            asked.set_exception(found)
        else:
            asked.set_result(found)


async def test_all_names_of_all_answers_sorted_and_each_once() -> None:
    """Not the directory itself and the one above; of a name that comes again it is the first entry."""
    pages = [names(b".", b"..", b"c"), names(b"b", b"\xff"), [Entry(b"c", "link", Stat()), *names(b"a")]]
    sftp = Answers(lambda number: pages[number] if number < len(pages) else [])
    found = await entries_of(sftp, b"h", b"/d", in_order=True)
    assert found == names(b"a", b"b", b"c", b"\xff")


@pytest.mark.parametrize("in_order", [True, False])
async def test_what_is_asked_for_behind_the_end_may_be_refused(in_order: bool) -> None:
    """Some servers say so; nobody logs it either."""
    sftp = Answers(lambda number: (names(b"a"), [])[number] if number < 2 else ServerRefused("no"))
    assert await entries_of(sftp, b"h", b"/d", in_order=in_order) == names(b"a")


@pytest.mark.parametrize("behind", ["late", "lost"])
async def test_what_is_not_answered_behind_the_end_may_be_names(monkeypatch: pytest.MonkeyPatch, behind: str) -> None:
    """It has to be listed anew, one answer after the other: then the end is the end."""
    monkeypatch.setattr(entries, "BEHIND_THE_END", 0.01)
    held: list[asyncio.Future[list[Entry]]] = []

    class HoldsBack(Answers):
        def _give(self) -> None:
            if behind == "late" and self.given:
                held.append(self.asked.popleft())
            else:
                super()._give()

    def answer(number: int) -> list[Entry] | Exception:
        return ConnectionFailed("lost") if behind == "lost" and number else []

    assert await entries_of(HoldsBack(answer), b"h", b"/d", in_order=False) is None
    assert bool(held) == (behind == "late")
    pages = [names(b"a"), names(b"b"), []]
    one_by_one = Answers(pages.__getitem__)
    assert await entries_of(one_by_one, b"h", b"/d", in_order=False, ahead=False) == names(b"a", b"b")
    assert one_by_one.most == 1


async def test_names_behind_the_end_count_where_answers_come_in_any_order() -> None:
    sftp = Answers(lambda number: ([], names(b"a"), names(b"b"))[number] if number < 3 else [])
    assert await entries_of(sftp, b"h", b"/d", in_order=False) == names(b"a", b"b")


async def test_a_file_and_a_directory_of_one_name_are_both_there() -> None:
    """Object stores have them."""
    directory = Entry(b"a", "directory", Stat())
    sftp = Answers(lambda number: [*names(b"a", b"b"), directory] if not number else [])
    assert await entries_of(sftp, b"h", b"/d", in_order=True) == [*names(b"a"), directory, *names(b"b")]


async def test_a_long_listing_is_asked_for_in_more_requests_at_once() -> None:
    """Up to a number."""
    sftp = Answers(lambda number: names(b"%d" % number) if number < 100 else [])
    assert len(await entries_of(sftp, b"h", b"/d", in_order=True) or ()) == 100
    assert sftp.most == MAX_LISTINGS_AHEAD


@pytest.mark.parametrize("error", [ServerRefused("no"), ConnectionFailed("lost")])
async def test_an_error_in_the_middle_is_the_listings(error: Exception) -> None:
    """Half a listing is none."""
    with pytest.raises(type(error)):
        await entries_of(Answers(lambda number: names(b"a") if number < 9 else error), b"h", b"/d", in_order=True)


@pytest.mark.parametrize("again", [(b"a", b"b"), (b".",)])
async def test_names_again_and_again_have_an_end(again: tuple[bytes, ...]) -> None:
    sftp = Answers(lambda number: names(*again))
    with pytest.raises(ServerRefused, match=r"'/d\\\\x1b': the server gives its \d names again and again"):
        await entries_of(sftp, b"h", b"/d\x1b", in_order=True)
    assert sftp.given <= MAX_REPEATED + 100


@pytest.mark.parametrize("limit", ["MAX_ENTRIES", "MAX_NAMES_BYTES"])
async def test_new_names_for_ever_have_an_end(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """By their number, or by their length."""
    monkeypatch.setattr(entries, limit, 50)
    sftp = Answers(lambda number: names(b"%d" % number))
    with pytest.raises(ServerRefused, match="move some of its files into directories beneath it"):
        await entries_of(sftp, b"h", b"/d", in_order=True)
    assert 20 < sftp.given < 100
