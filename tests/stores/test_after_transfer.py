"""Pushes that move or delete: where a store is not safe for that, nothing is delivered, and nothing taken away."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.errors import ConfigurationError, TransferError
from tests.stores.conftest import PART, Place
from tests.stores.test_overwrites import NEW, OLD, Steps, each_step

pytestmark = [pytest.mark.stores, pytest.mark.parametrize("after", ["move", "delete"])]


def settings(after: str, prefix: str = "") -> dict[str, Any]:
    sent = {"sent_prefix": f"sent/{prefix}"} if after == "move" else {}
    return {"s3_prefix": f"out/{prefix}", "after_transfer": after, **sent}


async def test_it_is_safe_or_refused(place: Place, after: str) -> None:
    """Whichever: what is there no more was delivered."""
    files = {"f": OLD, "d/it's & so": b"", "two parts": OLD.ljust(PART + 1)}
    for name, body in files.items():
        (place.put_in_parts if len(body) > PART else place.put)(f"out/{name}", body)
    if after not in place.store.about.takes_away:
        with pytest.raises(ConfigurationError, match=f"after_transfer='{after}' is not safe"):
            await place.push_to("b", **settings(after))
        assert place.there("b") == {}
        assert place.contents() == {f"out/{name}": body for name, body in files.items()}
        return
    if place.store.lacks("`after_transfer` of an object in parts"):
        with pytest.raises(TransferError, match=r"1 failed.*another version by now, and shows the same ETag"):
            await place.push_to("b", **settings(after))
        assert place.get("out/two parts") == files["two parts"]
        return
    assert (await place.push_to("b", **settings(after))).transferred == len(files)
    assert place.there("b") == files
    assert place.contents() == ({f"sent/{name}": body for name, body in files.items()} if after == "move" else {})


async def test_an_overwrite_at_each_step(place: Place, after: str) -> None:
    """Never is the newer version taken away unsent, or the older one the last that the partner has got."""
    if after not in place.store.about.takes_away:
        return

    async def tried(prefix: str, at: int) -> bool:
        place.put(f"out/{prefix}f", OLD)
        steps = Steps(place, lambda: place.put(f"out/{prefix}f", NEW), at)
        await place.push_to("b", **settings(after, prefix))
        if not steps.has_acted:
            return False
        left = place.contents().get(f"out/{prefix}f")
        assert left in (None, NEW)
        assert left == NEW or place.there("b")["f"] == NEW
        await place.push_to("b", **settings(after, prefix))
        assert place.there("b")["f"] == NEW
        assert place.listed(f"out/{prefix}") == []
        if after == "move":
            assert place.get(f"sent/{prefix}f") == NEW
        assert steps.delivered == sorted(steps.delivered), "an older version was delivered last"
        (place.sftp.root / "b/f").unlink()
        return True

    await each_step(place, tried)
