"""Metrics of a tenant: the same as of a server for one shop, with the tenant's name as one more label."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.registry import Collector

LABEL = "tenant"


def kinds_of(tenant: str) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """Counter, Gauge and Histogram; those of a tenant are made as ever and carry its name by themselves."""
    if not tenant:
        return Counter, Gauge, Histogram
    return _made(Counter, tenant), _made(Gauge, tenant), _made(Histogram, tenant)


def only(registry: CollectorRegistry, tenant: str) -> CollectorRegistry:
    """A registry that shows of another what belongs to a tenant."""
    found = CollectorRegistry()
    found.register(_Only(registry, tenant))
    return found


def together(registries: Sequence[CollectorRegistry]) -> CollectorRegistry:
    """A registry that shows several, each metric once with the samples of all."""
    found = CollectorRegistry()
    found.register(_Together(registries))
    return found


class _Bound:
    """A metric with labels of its own, whose last label is the tenant."""

    def __init__(self, metric: Any, tenant: str) -> None:
        self._metric = metric
        self._tenant = tenant

    def labels(self, *values: str) -> Any:
        return self._metric.labels(*values, self._tenant)


class _Only(Collector):
    def __init__(self, registry: CollectorRegistry, tenant: str) -> None:
        self._registry = registry
        self._tenant = tenant

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            own = [sample for sample in metric.samples if sample.labels.get(LABEL) == self._tenant]
            if own:
                yield _with(metric, own)


class _Together(Collector):
    def __init__(self, registries: Sequence[CollectorRegistry]) -> None:
        self._registries = registries

    def collect(self) -> Iterator[Metric]:
        found: dict[str, Metric] = {}
        for registry in self._registries:
            for metric in registry.collect():
                found.setdefault(metric.name, _with(metric, [])).samples.extend(metric.samples)
        yield from found.values()


def _made(kind: Callable[..., Any], tenant: str) -> Callable[..., Any]:
    def make(name: str, text: str, labelnames: Iterable[str] = (), **more: Any) -> Any:
        own = tuple(labelnames)
        metric = kind(name, text, [*own, LABEL], **more)
        return _Bound(metric, tenant) if own else metric.labels(tenant)

    return make


def _with(metric: Metric, samples: Sequence[Any]) -> Metric:
    found = Metric(metric.name, metric.documentation, metric.type, metric.unit)
    found.samples = list(samples)
    return found
