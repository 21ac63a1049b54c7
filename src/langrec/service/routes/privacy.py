"""Our routes for what people may ask of those who run the server: an export of their data, and proof of a deletion."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from starlette.concurrency import run_in_threadpool

from langrec.errors import DataError
from langrec.service.bodies import PathUser, Text
from langrec.service.guard import NotFound, needs
from langrec.service.routes import replies_privacy
from langrec.service.routes.answers import Answered, service_of
from langrec.service.service import Service
from langrec.service.store import receipts

writing = APIRouter(prefix="/api", tags=["privacy"], dependencies=[Depends(needs("write", "users"))])

ReceiptId = Annotated[
    Text,
    Path(description="a receipt's id, from the deletion", examples=["5f2b7a0c9d1e4f38a6b0c7d2e9f41a53"], max_length=64),
]


@writing.get("/user/{user}/export", summary="All that is known of a user", response_model=replies_privacy.ExportReply)
def export(request: Request, user: PathUser) -> Answered:
    """Profile, events, and the lists that were shown. 404 where nothing is known."""
    with service_of(request).store.read() as connection:
        try:
            return Answered(receipts.export_user(connection, user))
        except DataError as error:
            raise NotFound(error.message, field="user") from error


@writing.get("/receipts/{receipt}", summary="A receipt, proved again", response_model=replies_privacy.ReceiptReply)
async def receipt(request: Request, receipt: ReceiptId) -> Answered:
    """What the deletion said, and what a new look finds: rows, models of this worker, releases, the retraining."""
    service = service_of(request)
    found = await run_in_threadpool(_prove, service, receipt)
    if found is None:
        raise NotFound(f"there is no receipt {receipt!r}", field="receipt")
    return Answered(found)


def outlook_of(service: Service) -> receipts.Outlook:
    """What a deletion means for the models that this worker serves."""
    from langrec.bundle import Bundle

    service.growth.catch_up()  # just after a start it has not looked yet
    snapshot = service.snapshot
    models = Bundle.open(snapshot.folder, verify=False).manifest["models"]
    return receipts.Outlook.of(snapshot.stamp, models, service.growth.names, service.growth.why_not)


async def bring_into_step(service: Service) -> None:
    """Takes what was deleted out of this worker's models and caches, before the deletion is answered."""
    await run_in_threadpool(service.growth.catch_up)
    await service.call(lambda *_: None, patient=True)  # the scorer's thread takes the new models


def _prove(service: Service, receipt_id: str) -> dict[str, Any] | None:
    with service.store.read() as connection:
        found = receipts.prove(connection, receipt_id, service.folder)
    if found is None:
        return None
    revision = found.pop("revision")
    exact = service.snapshot.removals >= revision and service.growth.is_without(found["user"], revision)
    return {**found, "out_of_models": exact}
