"""The states of a pushed object: what the tests hold the push to, and what docs/marks.md shows."""

from __future__ import annotations

PUT, OVERWRITE, DELETE = "put new object", "overwrite object", "deletes object"
PUSH_WORKS, PUSH_FAILS = "push works", "push fails"
RETRY_SKIPS, RETRY_WORKS, RETRY_FAILS = "pushRetry skips", "pushRetry works", "pushRetry fails"
PUSH_SKIPS = "push skips"
"""No event of sftp-lambda's: a plain run comes by an object that is pushed or gone, and its state stays what it is."""

STATES = {
    # exists, synced, on the error queue
    (False, False, False): 1,
    (False, False, True): 2,
    (True, False, False): 3,
    (True, False, True): 4,
    (True, True, False): 5,
    (True, True, True): 6,
}
TABLE: dict[tuple[int, str], int] = {
    (1, PUT): 3,
    (2, PUT): 4,
    (2, RETRY_SKIPS): 1,
    (3, OVERWRITE): 3,
    (3, PUSH_WORKS): 5,
    (3, PUSH_FAILS): 4,
    (3, DELETE): 1,
    (4, OVERWRITE): 4,
    (4, PUSH_WORKS): 6,
    (4, PUSH_FAILS): 4,
    (4, RETRY_WORKS): 5,
    (4, RETRY_FAILS): 4,
    (4, DELETE): 2,
    (5, OVERWRITE): 3,
    (5, DELETE): 1,
    (6, OVERWRITE): 4,
    (6, RETRY_SKIPS): 5,
    (6, DELETE): 2,
}
"""sftp-lambda's table, the cells with a "-" left out."""
