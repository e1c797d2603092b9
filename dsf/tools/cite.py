"""BibTeX for what was used: every source and reference names a key of `references.bib`."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable
from functools import cache
from inspect import ismethod
from pathlib import Path
from typing import Any

from dsf.core.catalogue import families, family, near_names
from dsf.core.errors import UnknownNameError

OWN = "dsf2026"  # the key of this package, for what is proved here first
BIBLIOGRAPHY = Path(__file__).with_name("references.bib")


def cite(*objects: Any) -> str:
    """The BibTeX entries behind some objects, each once, in the order of their first use.

    An object is a family or its name, a mechanism, a certificate, a comparison, a realization, a
    nesting, a separation, a theorem, a paper, an atlas, a key, or a text that contains keys.  A
    claim without a reference is this package's own, and so is `cite()` without objects.  Raises
    UnknownNameError for a text without a key, for a key that `references.bib` does not hold, and
    for an object that could not have a source.

    >>> import dsf
    >>> print(dsf.cite(dsf.gla))
    @misc{yang2023,
      author = {Yang, Songlin and Wang, Bailin and Shen, Yikang and Panda, Rameswar and Kim, Yoon},
      title = {Gated Linear Attention Transformers with Hardware-Efficient Training},
      year = {2023},
      eprint = {2312.06635},
      archiveprefix = {arXiv},
    }
    """
    found = [key for x in objects or (OWN,) for key in _keys_of(x)]
    return "\n\n".join(entries()[key] for key in dict.fromkeys(found))


def entries() -> dict[str, str]:
    """All BibTeX entries by key: of the bibliography, and those that mechanisms declare.

    >>> "sieber2024" in entries()
    True
    """
    declared = [f.cls.bibtex for f in families().values() if f.cls.bibtex]
    return _bibliography() | _parsed("\n\n".join(declared))


@cache
def _bibliography() -> dict[str, str]:
    return _parsed(BIBLIOGRAPHY.read_text(encoding="utf-8"))


def _parsed(text: str) -> dict[str, str]:
    text = inspect.cleandoc(text)
    return {m[1]: m[0] for m in re.finditer(r"^@\w+\{([\w-]+),$.*?^\}$", text, re.M | re.S)}


def field(key: str, name: str) -> str:
    """A field of an entry without the braces of BibTeX; "" where the entry has none.

    >>> field("gu2023", "title")
    'Mamba: Linear-Time Sequence Modeling with Selective State Spaces'
    """
    found = re.search(rf"^  {name} = \{{(.*)\}},?$", entries()[key], re.M)
    return re.sub(r"[{}]", "", found[1]) if found else ""


def keys(text: str) -> list[str]:
    """The bibliography keys in a reference like "dewilde1998, ch. 5; rounding: rump2006".

    A reference that begins with "derived" is this package's own: its first key is dsf2026.  Raises
    UnknownNameError if there is no key, or if a word that looks like one (name, year and perhaps
    more letters) is not in the bibliography.

    >>> keys("dewilde1998, ch. 5; rounding: rump2006")
    ['dewilde1998', 'rump2006']
    """
    words = re.findall(r"[A-Za-z]\w*", text)
    used = [OWN] if words[:1] == ["derived"] else []
    used += [w for w in words if w in entries() or re.fullmatch(r"[a-z]+(19|20)\d\d[a-z]*", w)]
    missing = [w for w in used if w not in entries()]
    if missing or not used:
        asked = (missing or [text])[0]
        near = difflib.get_close_matches(asked, entries(), n=3) or near_names(asked, 0.8)
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        what = f"no entry {missing[0]!r}" if missing else f"no bibliography key in {text!r}"
        raise UnknownNameError(
            f"cite: {what}.{hint} Known: {', '.join(sorted(entries()))}. A new source needs an "
            f"entry in {BIBLIOGRAPHY.name}, or `bibtex` in the class of the mechanism."
        )
    return used


def _keys_of(x: Any) -> list[str]:
    """The keys behind one object: its facts, its reference, and those of its parts."""
    if isinstance(x, str):
        return _keys_of_text(x)
    texts = [x.facts.source] if hasattr(x, "facts") else []
    texts += [t for t in (getattr(x, "reference", ""), getattr(x, "source", "")) if t]
    found = [key for text in texts for key in keys(text)]
    for part in _parts(x):
        found += _keys_of(part)
    if not found and getattr(x, "reference", None) == "":
        return [OWN]
    if not found:
        raise UnknownNameError(
            f"cite: {type(x).__name__} names no source: it has no facts, reference, certificate or "
            "certificates that do. Give a mechanism, a certificate, a theorem or a key."
        )
    return found


def _parts(x: Any) -> Iterable[Any]:
    for name in ("special", "general", "left", "right", "certificate"):
        part = getattr(x, name, None)
        if part is not None and not ismethod(part):
            yield part
    for name in ("certificates", "rows"):
        parts = getattr(x, name, ())
        if isinstance(parts, tuple):
            yield from (part for part in parts if part is not x)


def _keys_of_text(text: str) -> list[str]:
    """The source of a family with this name, or the keys in the text."""
    try:
        return [family(text).facts.source]
    except UnknownNameError:
        return keys(text)
