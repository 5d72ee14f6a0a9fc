"""What takes metrics as an OpenTelemetry collector does: by OTLP over HTTP, on 127.0.0.1.

Needs nothing but the standard library and `opentelemetry-proto`, which each Airflow from 2.10 on brings along.
"""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest


class Metric(NamedTuple):
    """
    One value that came.

    :param kind: ``counter``, ``gauge`` or ``timer``.
    :param value: of a timer, the milliseconds of all its observations.
    :param is_delta: it is what has been added since the value before, and not the sum of all.
    """

    name: str
    tags: dict[str, str]
    kind: str
    value: float
    is_delta: bool


class Collector:
    """Listens from ``with`` on, and keeps all that comes."""

    def __init__(self) -> None:
        self.came: list[Metric] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                if self.path == "/v1/metrics":
                    collector.came += _metrics(body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def values(self, **tags: str) -> dict[str, Metric]:
        """Return the latest metric of each name of those that have these tags and no others."""
        return {metric.name: metric for metric in self.came if metric.tags == tags}


def _metrics(body: bytes) -> list[Metric]:
    found = []
    request = ExportMetricsServiceRequest.FromString(body)
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                which = metric.WhichOneof("data")
                data = getattr(metric, which)
                for point in data.data_points:
                    tags = {each.key: each.value.string_value for each in point.attributes}
                    is_delta = getattr(data, "aggregation_temporality", 0) == 1
                    if which in ("sum", "gauge"):
                        kind = "counter" if which == "sum" else "gauge"
                        found.append(Metric(metric.name, tags, kind, _number(point), is_delta))
                    else:
                        found.append(Metric(metric.name, tags, "timer", point.sum, is_delta))
    return found


def _number(point: Any) -> float:
    return float(getattr(point, point.WhichOneof("value")))
