"""
An object that was written gets its name at the partner, and what goes with it, in this order:

1. an old trigger and an old checksum file are taken away, before new data comes under the name;
2. the file gets its name;
3. its checksum file is written, and gets its own;
4. the trigger is made, after the last file that it tells of.

So neither of them is ever there beside a file that is not whole, or not the one that it is about.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_sftp_s3.engine.announcement import Trigger, Triggers
from airflow_provider_sftp_s3.engine.delivered_sums import DeliveredSums
from airflow_provider_sftp_s3.engine.delivery import Delivery, Publish
from airflow_provider_sftp_s3.engine.model import ObjectEntry, Stat, seconds_of
from airflow_provider_sftp_s3.engine.places import Places
from airflow_provider_sftp_s3.engine.s3.bucket import Version
from airflow_provider_sftp_s3.engine.settings import PushSettings

if TYPE_CHECKING:
    from hashlib import _Hash


@dataclass
class PushedObject:
    """
    An object to push, with what a report calls it.

    :param namesake: the key before it in the run that comes to the same path, if any does.
    :param version: what S3 has said of it last.
    :param path: where it was delivered to, and what is there is ours.
    :param trigger: what tells the partner of it; None: nothing does.
    """

    entry: ObjectEntry
    label: str
    namesake: str | None = None
    version: Version | None = None
    path: bytes = b""
    trigger: Trigger | None = None

    @property
    def key(self) -> str:
        return self.entry.key

    @property
    def size(self) -> int:
        return max(self.entry.size, 0)

    @property
    def changed(self) -> float | None:
        return seconds_of(self.version.modified if self.version else self.entry.modified)


class Publication:
    """
    Gives the objects of one run of a push their names.

    :param triggers: what makes triggers; None: there are none.
    :param sums: what writes checksum files; None: there are none.
    """

    def __init__(
        self,
        settings: PushSettings,
        places: Places,
        delivery: Delivery,
        triggers: Triggers | None,
        sums: DeliveredSums | None,
    ) -> None:
        self._replaces = settings.on_conflict == "replace"
        self._places = places
        self._delivery = delivery
        self._triggers = triggers
        self._sums = sums

    def may_be_taken(self, pushed: PushedObject) -> bool:
        """Say whether a file that is there already may be in the way: older bytes of the object are ours."""
        return not (self._replaces or pushed.path)

    async def free_place(self, path: bytes, stat: Stat) -> bytes:
        """Return where an object may go. :raises TargetTaken: nowhere."""
        for place in self._places.around(path, stat):
            if not await self._delivery.is_taken(place):
                return place
        raise self._places.taken_error(path, stat)

    async def publish(
        self, pushed: PushedObject, publish: Publish, path: bytes, version: Version, running: _Hash | None
    ) -> bytes:
        """
        Give an object its name, and what goes with it, and return its path.

        :param running: what has its sum once it is written; None: nobody has asked for it.
        :raises TargetTaken: its name is taken, and not to be replaced.
        :raises FileError: what goes with it is not there; it must not be marked.
        """
        if self._triggers is None and self._sums is None:
            return await self._name(pushed, publish, path, version.stat)
        if self.may_be_taken(pushed) and await self._delivery.is_taken(path):
            raise self._places.taken_error(path, version.stat)  # and what stands beside it is that one's
        trigger = pushed.trigger
        if self._triggers is not None:
            if trigger is None:  # such as where the name would be too long
                trigger = Trigger(self._triggers.path_of(pushed.key))
            await self._triggers.withdraw(trigger, pushed.key)
        if self._sums is not None:
            await self._sums.withdraw(path)
        # What comes next may have to be begun again: what is there then is ours.
        path = pushed.path = await self._name(pushed, publish, path, version.stat)
        if self._sums is not None and running is not None:
            await self._sums.write(path, version, running)
        if self._triggers is not None and trigger is not None:
            await self._triggers.delivered(trigger, pushed.key)
        return path

    async def _name(self, pushed: PushedObject, publish: Publish, path: bytes, stat: Stat) -> bytes:
        if self._replaces or pushed.path:  # older bytes of it are ours
            async with self._places.alike.taking(pushed.path or path):
                await publish(pushed.path or path, replaces=True)
            return pushed.path or path
        for place in self._places.around(path, stat):
            async with self._places.alike.taking(place):
                if await publish(place, replaces=False):
                    return place
        raise self._places.taken_error(path, stat)
