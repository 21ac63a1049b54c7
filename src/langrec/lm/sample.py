"""Made-up titles and descriptions of mixed length whose partners are known: what a runtime is measured on."""

from __future__ import annotations

import random

_ADJECTIVES = "quiet broken golden distant hungry secret winter clockwork velvet stubborn hollow electric"
_NOUNS = (
    "lighthouse orchestra submarine bakery detective glacier violin kingdom spaceship gardener tornado "
    "library boxer circus vampire railway astronaut kitchen pirate mountain professor wolf museum island"
)
_PLACES = "Lisbon Alaska Kyoto Mars Vienna Nairobi Patagonia Chicago Istanbul Iceland Havana Siberia"
_GENRES = "comedy thriller romance documentary mystery western drama fantasy"
_PEOPLE = ["a retired sailor", "two rival sisters", "a young chemist", "the last mayor", "an orphan", "a tired nurse"]
_ACTS = (
    "must repair the {noun} before the first snow falls",
    "discovers a map hidden inside the {noun} and follows it across {place}",
    "falls in love with the owner of the {adjective} {noun}",
    "is accused of stealing the {noun} and has one night to prove otherwise",
    "inherits a {noun} in {place} and every debt that comes with it",
    "teaches a group of children to look after the {adjective} {noun}",
)
_MORE = (
    "Nobody in {place} believes the story, least of all the police.",
    "What begins as a simple {genre} turns into a race against an old enemy.",
    "Years later the same {noun} brings them together again, and nothing is as it was.",
    "Along the way there are storms, bad food, unexpected friends and a very {adjective} dog.",
    "Reviewers praised its patient camera and the music; the ending divides audiences to this day.",
    "It was filmed over three years with a small crew, mostly by night and mostly in the rain.",
)


def sample_pairs(n: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """n short titles and the n descriptions they belong to, 3 to 10 and 20 to 120 tokens long."""
    rng = random.Random(seed)
    titles, descriptions = [], []
    for _ in range(n):
        words = {
            "adjective": rng.choice(_ADJECTIVES.split()),
            "noun": rng.choice(_NOUNS.split()),
            "place": rng.choice(_PLACES.split()),
            "genre": rng.choice(_GENRES.split()),
        }
        shape = rng.choice(
            ("The {adjective} {noun}", "{noun} of {place}", "A {genre} in {place}", "{adjective} {noun}: {place}")
        )
        year = f" ({rng.randint(1930, 2025)})" if rng.random() < 0.5 else ""
        titles.append(shape.format(**words).title() + year)
        first = f"In {words['place']}, {rng.choice(_PEOPLE)} {rng.choice(_ACTS).format(**words)}."
        rest = [line.format(**words) for line in rng.sample(_MORE, rng.randint(0, len(_MORE)))]
        descriptions.append(" ".join([first, *rest]))
    return titles, descriptions
