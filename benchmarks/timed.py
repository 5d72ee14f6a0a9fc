"""
A process that runs a command and says what it took: ``python benchmarks/timed.py TIMEOUT COMMAND...``.

It is small, since Linux has the peak memory of a command begin with that of the process which starts it.
"""

import json
import os
import subprocess
import sys
import threading
import time

before = time.perf_counter()
process = subprocess.Popen(sys.argv[2:], stdout=sys.stderr)
alarm = threading.Timer(float(sys.argv[1]), process.kill)
alarm.start()
_, status, used = os.wait4(process.pid, 0)
seconds = time.perf_counter() - before
alarm.cancel()
cpu = used.ru_utime + used.ru_stime
print(json.dumps({"seconds": seconds, "cpu": cpu, "memory": used.ru_maxrss * 1024}))
sys.exit(os.waitstatus_to_exitcode(status) != 0)
