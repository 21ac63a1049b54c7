"""OpenTelemetry traces of requests, where the standard OTEL_ variables say where to; else nothing is loaded or kept.

A request's span holds one for its block in the scorer's thread, with the stages of its answer inside, and one for each
write to the store. Attributes are routes, statuses, counts and releases: no ids, no texts, no addresses of people.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any

from langrec.errors import MissingExtra, SettingsError

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider

    from langrec.types import Trace

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
# The span of the request that this task answers.
_current: ContextVar[Any] = ContextVar("langrec_request_span", default=None)


class Tracing:
    """Traces of one process; without a provider every call does nothing.

    Args:
        provider: what spans are made by and sent through.
    """

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._tracer: Any = None if provider is None else provider.get_tracer("langrec")

    @contextlib.contextmanager
    def request(self, method: str, headers: Mapping[str, str]) -> Iterator[RequestSpan | None]:
        """The span of a request, below the caller's where the headers name one; None where nothing is traced."""
        if self._tracer is None:
            yield None
            return
        from opentelemetry import propagate
        from opentelemetry.trace import SpanKind, set_span_in_context

        parent = propagate.extract(headers)
        span = self._tracer.start_span(method, parent, SpanKind.SERVER, {"http.request.method": method})
        token = _current.set(set_span_in_context(span, parent))
        try:
            yield RequestSpan(span)
        finally:
            _current.reset(token)
            span.end()

    def here(self) -> Context | None:
        """Where spans of this task's request belong; travels with a job into another thread."""
        return None if self._tracer is None else _current.get()

    @contextlib.contextmanager
    def span(self, name: str) -> Iterator[None]:
        """A span within this task's request."""
        parent = self.here()
        if parent is None:
            yield
            return
        span = self._tracer.start_span(name, parent)
        try:
            yield
        except BaseException as error:
            _failed(span, type(error).__name__)
            raise
        finally:
            span.end()

    def block(
        self, parents: Sequence[Context | None], results: Sequence[Any], started: int, read: int, ended: int
    ) -> None:
        """The spans of a block of jobs that was answered together: each request gets its own.

        Args:
            parents: where each job's spans belong (`here`).
            results: what each job gave; a list's stages become spans.
            started: when the block began, in nanoseconds since 1970.
            read: when the histories had been read from the store.
            ended: when the block was done.
        """
        for parent, result in zip(parents, results, strict=True):
            if parent is not None:
                trace = getattr(getattr(result, "list", None), "trace", None)
                self._block(parent, result, trace, len(parents), (started, read, ended))

    def _block(
        self, parent: Context, result: Any, trace: Trace | None, together: int, times: tuple[int, int, int]
    ) -> None:
        from opentelemetry.trace import set_span_in_context

        started, read, ended = times
        span = self._tracer.start_span(
            "batch", parent, attributes={"langrec.batch.requests": together}, start_time=started
        )
        inside = set_span_in_context(span, parent)
        self._tracer.start_span("store.read", inside, start_time=started).end(read)
        if trace is not None:
            span.set_attributes({"langrec.reason": trace.reason, "langrec.release": trace.release})
            # Stages follow one another and say how long each took; they end when the block does.
            at = max(read, ended - sum(int(stage.ms * 1e6) for stage in trace.stages))
            for stage in trace.stages:
                counts = {"langrec.items.in": stage.n_in, "langrec.items.out": stage.n_out}
                until = min(ended, at + int(stage.ms * 1e6))
                self._tracer.start_span(stage.name, inside, attributes=counts, start_time=at).end(until)
                at = until
        if isinstance(result, BaseException):
            _failed(span, type(result).__name__)
        span.end(ended)


class RequestSpan:
    """A request's span, told how the request ended."""

    def __init__(self, span: Any) -> None:
        self._span = span

    def answered(self, method: str, route: str, status: int, request_id: str) -> None:
        """Names the span by its route (not by its path, which may hold ids) and says how it ended."""
        self._span.update_name(f"{method} {route}")
        self._span.set_attributes(
            {"http.route": route, "http.response.status_code": status, "langrec.request_id": request_id}
        )
        if status >= 500:
            _failed(self._span, str(status))


@cache
def of_process() -> Tracing:
    """The traces of this process, as its environment wants them; what is not sent yet is sent at its end."""
    return tracing_from(os.environ)


def tracing_from(environ: Mapping[str, str]) -> Tracing:
    """Traces as the standard variables want them: on where an OTLP endpoint or OTEL_TRACES_EXPORTER is given.

    Raises:
        MissingExtra: they are wanted and the extra `otel` is not installed.
        SettingsError: a variable names an exporter or protocol that is not here.
    """
    endpoint = any(environ.get(name) for name in _ENDPOINTS)
    exporter = environ.get("OTEL_TRACES_EXPORTER") or ("otlp" if endpoint else "none")
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or exporter == "none":
        return Tracing()
    if exporter not in ("otlp", "console"):
        said = f"OTEL_TRACES_EXPORTER: {exporter!r} is not known; there are otlp, console and none"
        raise SettingsError(said, field="OTEL_TRACES_EXPORTER")
    protocol = next((found for name in _PROTOCOLS if (found := environ.get(name))), "http/protobuf")
    if exporter == "otlp" and protocol != "http/protobuf":
        said = f"{_PROTOCOLS[1]}: {protocol!r} is not known; collectors take http/protobuf, on port 4318 by default"
        raise SettingsError(said, field=_PROTOCOLS[1])
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
    except ImportError as error:
        raise MissingExtra("otel", "sending traces, which OTEL_ variables ask for,") from error
    import sys

    import langrec

    own = {"service.version": langrec.__version__}
    if not environ.get("OTEL_SERVICE_NAME"):
        own["service.name"] = "langrec"
    # OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES and the variables of sampling and batches are read by the SDK.
    provider = TracerProvider(resource=Resource.create(own))
    sent = OTLPSpanExporter() if exporter == "otlp" else ConsoleSpanExporter(out=sys.stderr)
    provider.add_span_processor(BatchSpanProcessor(sent))
    return Tracing(provider)


def _failed(span: Any, kind: str) -> None:
    """Marks a span as failed by its kind alone: messages of errors may hold ids."""
    from opentelemetry.trace import Status, StatusCode

    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR))
