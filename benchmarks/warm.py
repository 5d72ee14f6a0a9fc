"""
Memory that the machine has just used, so that each peer finds the same.

A virtual machine may give freed memory back to its host within seconds, and then writes to it at a tenth of the speed.
That hits whoever comes after a pause, such as Airflow's start.
"""

import os
import tempfile


def warm(directory: str, size: int) -> None:
    """Write `size` bytes, and as many for all else that takes memory, to a file in `directory`, and remove it."""
    block = bytes(1 << 20)
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(2 * size >> 20):
            os.write(file.fileno(), block)
