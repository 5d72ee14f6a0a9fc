"""
A process that runs a command and says what it took: ``python benchmarks/timed.py TIMEOUT ROOT BYTES COMMAND...``.

So many bytes are written beneath ROOT and removed before: see warm.py.

It is small, since Linux has the peak memory of a command begin with that of the process which starts it.
"""

import json
import os
import subprocess
import sys
import threading
import time

TYPE_CHECKING = False  # as mypy takes it; typing itself would be memory
if TYPE_CHECKING:
    from benchmarks.warm import warm
else:
    from warm import warm

_, timeout, root, bytes_beneath, *command = sys.argv
warm(root, int(bytes_beneath))
before = time.perf_counter()
process = subprocess.Popen(command, stdout=sys.stderr)
alarm = threading.Timer(float(timeout), process.kill)
alarm.start()
_pid, status, used = os.wait4(process.pid, 0)
seconds = time.perf_counter() - before
alarm.cancel()
cpu = used.ru_utime + used.ru_stime
print(json.dumps({"seconds": seconds, "cpu": cpu, "memory": used.ru_maxrss * 1024}))
sys.exit(os.waitstatus_to_exitcode(status) != 0)
