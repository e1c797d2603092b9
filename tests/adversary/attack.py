"""The attack: every forgery is tried, and what passes is judged."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from forgeries import Forgery, accepted, against_all, forgeries
from honest import examples
from judge import verdict

from dsf.core.catalogue import families
from dsf.core.errors import CertificateError
from dsf.verdicts.separations import separate


@dataclass
class Count:
    """What became of the forgeries of one kind."""

    tried: int = 0
    refused: int = 0
    true: int = 0
    false: list[Forgery] = field(default_factory=list)
    open: list[Forgery] = field(default_factory=list)
    slowest: float = 0.0  # seconds of this process: what runs beside it does not count

    def add(self, f: Forgery) -> None:
        """Try one forgery and judge what passes."""
        start = time.process_time()
        passed = accepted(f.certificate)
        self.slowest = max(self.slowest, time.process_time() - start)
        self.tried += 1
        if not passed:
            self.refused += 1
            return
        judged = verdict(f.certificate)
        if judged is None:
            self.open.append(f)
        elif judged:
            self.true += 1
        else:
            self.false.append(f)


def attack(made: Iterable[Forgery]) -> dict[str, Count]:
    """The counts per kind."""
    counts: dict[str, Count] = {}
    for f in made:
        counts.setdefault(f.certificate.kind, Count()).add(f)
    return counts


def every() -> Iterator[Forgery]:
    """Every forgery of every honest certificate, and every violation against every family."""
    for name, c in examples().items():
        yield from forgeries(name, c, examples())
    yield from every_pair()


def every_pair() -> Iterator[Forgery]:
    """Each proof that the finder has against a family, held against all families."""
    for b in families().values():
        found = (c for a in families().values() for c in separate(a, b))
        own = [c for c in found if c.witnesses["violates"] == repr(b)]
        first = {(c.kind, c.witnesses.get("invariant")): c for c in reversed(own)}
        for c in first.values():
            for how, made in against_all(c):
                yield Forgery(c.claim, how, made)


def honest_and_true() -> list[str]:
    """The honest certificates that this judge would not call true: none, or it is no judge."""
    wrong = []
    for name, c in examples().items():
        try:
            right = c.check() and verdict(c)
        except CertificateError:
            right = False
        if not right:
            wrong.append(name)
    return wrong
