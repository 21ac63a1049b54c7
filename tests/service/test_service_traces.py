"""Traces: a request's spans stand where they belong, name no people, and go only where the variables say."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from live_server import Process, wait_until

from langrec.client import Client
from langrec.client.replies import Event
from langrec.errors import MissingExtra, SettingsError
from langrec.service.monitoring import tracing
from langrec.service.monitoring.tracing import Tracing, tracing_from

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def spans(monkeypatch):
    """What this process has traced."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    traced = Tracing(provider)
    monkeypatch.setattr(tracing, "of_process", lambda: traced)
    return exporter


def tree(exporter):
    """Finished spans by name, and each one's parent's name."""
    found = exporter.get_finished_spans()
    names = {span.context.span_id: span.name for span in found}
    return {span.name: span for span in found}, {
        span.name: names.get(span.parent.span_id) if span.parent else None for span in found
    }


def finished(exporter, name):
    wait_until(lambda: any(span.name == name for span in exporter.get_finished_spans()))


def test_a_requests_span_holds_its_block_and_the_block_its_stages(spans, live):
    spans.clear()
    assert live.client.post("/api/recommend", json={"user": "sea-u0"}).status_code == 200
    finished(spans, "POST /api/recommend")
    by_name, parents = tree(spans)
    assert parents["POST /api/recommend"] is None and parents["batch"] == "POST /api/recommend"
    assert {"store.read", "retrieve", "filter", "select"} <= {name for name, one in parents.items() if one == "batch"}
    request, batch = by_name["POST /api/recommend"], by_name["batch"]
    assert dict(request.attributes) | {"langrec.request_id": ""} == {
        "http.request.method": "POST",
        "http.route": "/api/recommend",
        "http.response.status_code": 200,
        "langrec.request_id": "",
    }
    assert batch.attributes["langrec.reason"] == "history" and batch.attributes["langrec.batch.requests"] == 1
    assert by_name["filter"].attributes["langrec.items.in"] == 48
    for name, parent in parents.items():
        if parent:
            assert by_name[parent].start_time <= by_name[name].start_time, name
            assert by_name[name].start_time <= by_name[name].end_time <= by_name[parent].end_time, name


def test_a_write_is_a_span_of_its_request(spans, live):
    spans.clear()
    live.send("POST", "/api/feedback", [{"FeedbackType": "click", "UserId": "ann", "ItemId": "sea00"}])
    finished(spans, "POST /api/feedback")
    assert tree(spans)[1]["store.write"] == "POST /api/feedback"


def test_requests_of_one_block_have_their_own_spans(spans, live):
    spans.clear()

    async def ask():
        from langrec.client import AsyncClient

        async with AsyncClient(live.url) as client:
            await asyncio.gather(*(client.recommend(f"sea-u{n % 10}", k=n + 1) for n in range(20)))

    asyncio.run(ask())
    wait_until(lambda: Counter(span.name for span in spans.get_finished_spans())["POST /api/recommend"] == 20)
    found = spans.get_finished_spans()
    requests = {span.context.span_id for span in found if span.name == "POST /api/recommend"}
    batches = [span for span in found if span.name == "batch"]
    assert {span.parent.span_id for span in batches} == requests and len(batches) == 20


def test_the_callers_trace_goes_on_in_the_server(spans, live):
    spans.clear()
    live.client.get("/api/popular", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
    finished(spans, "GET /api/popular")
    found = spans.get_finished_spans()
    assert {f"{span.context.trace_id:032x}" for span in found} == {TRACE}
    (request,) = [span for span in found if span.name == "GET /api/popular"]
    assert f"{request.parent.span_id:016x}" == PARENT


def test_the_client_hands_its_own_trace_on(spans, live):
    from opentelemetry import trace

    spans.clear()
    outer = tracing.of_process()._tracer.start_span("outer")
    with trace.use_span(outer, end_on_exit=True), Client(live.url) as client:
        client.popular()
    finished(spans, "outer")
    assert tree(spans)[1]["GET /api/popular"] == "outer"


def test_a_span_of_a_failure_says_its_kind_and_not_its_words(spans, live, monkeypatch):
    spans.clear()

    def fail(*_):
        raise RuntimeError("secret-person")

    monkeypatch.setattr(live.service, "known_history", fail)
    assert live.client.get("/api/recommend/secret-person").status_code == 500
    finished(spans, "GET /api/recommend/{user}")
    by_name, _ = tree(spans)
    assert by_name["batch"].attributes["error.type"] == "RuntimeError"
    assert by_name["GET /api/recommend/{user}"].attributes["error.type"] == "500"
    assert not by_name["batch"].status.is_ok and by_name["batch"].status.description is None


def test_no_span_names_a_person_an_item_or_a_text(spans, live):
    spans.clear()
    person, thing, words = "anna.nilsson", "item-of-anna", "zanzibar lantern"
    with Client(live.url) as client:
        client.add_feedback([Event(person, thing, "click", comment=words)])
        client.recommend(person, text=words)
        client.recommend_ids(person)
        client.search(words, user=person)
        client.explain(person, "sea00")
        for call in (client.item, client.user):
            with pytest.raises(Exception, match="there is no"):
                call(f"{person}-gone")
        client.delete_user(person)
    finished(spans, "DELETE /api/user/{user}")
    shown = json.dumps([json.loads(span.to_json()) for span in spans.get_finished_spans()])
    for private in (person, thing, *words.split()):
        assert private not in shown
    assert "/api/user/{user}" in shown


def test_without_the_variables_nothing_is_traced_and_nothing_is_loaded():
    for environ in ({}, {"OTEL_SERVICE_NAME": "x"}, {"OTEL_TRACES_EXPORTER": "none"}):
        off = tracing_from(environ)
        with off.request("GET", {}) as span, off.span("x"):
            assert span is None and off.here() is None
    disabled = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}
    assert tracing_from(disabled).here() is None
    code = (
        "import sys; from langrec.service.http import document; from langrec.service.monitoring import tracing;"
        "tracing.of_process(); print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_variable_that_cannot_be_followed_is_an_error():
    with pytest.raises(SettingsError, match="OTEL_TRACES_EXPORTER: 'zipkin'"):
        tracing_from({"OTEL_TRACES_EXPORTER": "zipkin"})
    with pytest.raises(SettingsError, match="http/protobuf"):
        tracing_from({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})


def test_traces_that_are_wanted_without_the_extra_name_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(MissingExtra, match=r"pip install 'langrec\[otel\]'"):
        tracing_from({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})


@pytest.mark.slow
def test_a_server_sends_its_traces_to_the_collector_that_the_variables_name(releases, tmp_path, monkeypatch):
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    got, lock = [], threading.Lock()

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            with lock:
                got.append((self.path, ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    collector = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_address[1]}")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    server = Process(releases, f"sqlite:///{tmp_path / 'store.db'}")
    try:
        server.wait()
        server.client.get("/api/recommend/sea-u0", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})

        def arrived():
            with lock:
                return [
                    (resource, span)
                    for path, request in got
                    for resource in request.resource_spans
                    for scope in resource.scope_spans
                    for span in scope.spans
                    if span.trace_id.hex() == TRACE and path == "/v1/traces"
                ]

        wait_until(lambda: {"GET /api/recommend/{user}", "batch"} <= {span.name for _, span in arrived()})
        resource, _ = arrived()[0]
        named = {one.key: one.value.string_value for one in resource.resource.attributes}
        assert named["service.name"] == "shop" and named["service.version"]
    finally:
        server.close()
        collector.shutdown()
        collector.server_close()
