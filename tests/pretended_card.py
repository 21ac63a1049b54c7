"""A device that this machine does not have, pretended: its tensors lie in main memory and refuse to meet others.

As on a graphics card, an operation over tensors of both kinds fails, and NumPy reads none that was not brought back.
"""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

# The one device whose name needs no driver.
CARD = torch.device("meta")
PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.bmm.default)


class OnCard(torch.Tensor):
    """A tensor on the card; `inside` holds its numbers."""

    @staticmethod
    def __new__(cls, inside):
        return torch.Tensor._make_wrapper_subclass(
            cls, inside.shape, inside.stride(), inside.storage_offset(), dtype=inside.dtype, device=CARD
        )

    def __init__(self, inside):
        self.inside = inside

    @classmethod
    def __torch_dispatch__(cls, function, types, given=(), named=None):
        return on_card(function, given, named or {})


class Card(TorchDispatchMode):
    """While it holds, tensors can be made on the card and moved there; `products` counts those of matrices there."""

    def __init__(self):
        super().__init__()
        self.products = 0

    def __torch_dispatch__(self, function, types, given=(), named=None):
        found = on_card(function, given, named or {})
        self.products += isinstance(found, OnCard) and function in PRODUCTS
        return found


def on_card(function, given, named):
    """Runs an operation on what is inside; its results are on the card where its tensors were, or where it asks."""
    device = named.get("device")
    tensors = [one for one in tree_flatten((given, named))[0] if isinstance(one, torch.Tensor)]
    there = [isinstance(one, OnCard) for one in tensors]
    moves = function in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
    if any(there) and not moves:
        # A card takes a single number from main memory, and nothing else.
        other = [one for one, on in zip(tensors, there, strict=True) if not on and one.ndim]
        assert not other, f"{function}: a tensor of the processor meets one of the card"
    stays = any(there) if device is None else torch.device(device).type == CARD.type
    if device is not None and torch.device(device).type == CARD.type:
        named = {**named, "device": torch.device("cpu")}
    inner = tree_map(lambda one: one.inside if isinstance(one, OnCard) else one, (given, named))
    found = function(*inner[0], **inner[1])
    if function._schema.name.endswith("_") and isinstance(given[0], torch.Tensor):
        return given[0]  # it was changed in place
    return tree_map(lambda one: OnCard(one) if stays and isinstance(one, torch.Tensor) else one, found)
