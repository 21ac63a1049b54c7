"""A small shop as files: items with texts and events with types, in the layout that the README describes."""

from __future__ import annotations

from pathlib import Path

from worlds import planted_topics


def write_shop(folder: Path) -> tuple[Path, Path]:
    """Writes events.csv and items.csv of a planted world (users u0..., items i0..., four topics) and returns them."""
    world = planted_topics(users=48, items=40, noise=0.1)
    kinds = ("sea", "bread", "chess", "space")
    folder.mkdir(parents=True, exist_ok=True)
    items = ["item_id,title,overview,categories,price"]
    for num, (topic, text) in enumerate(zip(world.item_topics, world.texts, strict=True)):
        kind = kinds[topic]
        items.append(f'i{num},{text.split()[0].title()} {num},"A story about the {kind}: {text}",{kind},{5 + num}')
    log = world.dataset.events
    events = ["user_id,item_id,timestamp,type"]
    for row, (user, item, at) in enumerate(zip(log.users, log.items, log.at, strict=True)):
        events.append(f"u{user},i{item},{at // 1000},{'purchase' if row % 5 == 0 else 'click'}")
    (folder / "items.csv").write_text("\n".join(items) + "\n", "utf-8")
    (folder / "events.csv").write_text("\n".join(events) + "\n", "utf-8")
    return folder / "events.csv", folder / "items.csv"
