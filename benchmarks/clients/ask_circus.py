"""Asks circus for the status again and again, by its own client; see ask_http.py.

ask_circus.py ENDPOINT SECONDS, executed by the Python that circus is installed in.
"""

import json
import sys
import time

from circus.client import CircusClient

endpoint, seconds = sys.argv[1], float(sys.argv[2])
client = CircusClient(endpoint=endpoint, timeout=30)
calls, worst, statuses = 0, 0.0, {}
end = time.perf_counter() + seconds
while (begin := time.perf_counter()) < end:
    statuses = client.call({"command": "status", "properties": {}})["statuses"]
    worst = max(worst, time.perf_counter() - begin)
    calls += 1
running = sum(status == "active" for status in statuses.values())
print(json.dumps({"calls": calls, "worst_ms": worst * 1000, "running": running}))
