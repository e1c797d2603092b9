"""A user's own mechanism and nesting: checked where their module is imported, and nowhere else."""

from __future__ import annotations

import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import dsf
from dsf.claims import having
from dsf.core.certificate import Certificate
from dsf.core.errors import CertificateError
from dsf.core.mechanism import NAMED
from dsf.relations import MADE
from dsf.relations.invariants import INVARIANTS

SOURCE = '''
import dsf
from dsf.core import ops
from dsf.core.tokens import Tokens


class Mine(dsf.gla.cls, name="mine"):
    """Gated linear attention under a name of its own."""


mine = dsf.family("mine")


def decay(tok):
    log_a = ops.log(tok.gamma) + ops.zeros_like(tok.k)
    return Tokens(q=tok.q, k=tok.k, v=tok.v, log_a=log_a)


nesting = dsf.Nesting(dsf.retnet, mine, decay, "log_a <- log gamma")
'''


@pytest.fixture
def mixers(tmp_path, monkeypatch):
    """A user's module, imported."""
    (tmp_path / "my_mixers.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("my_mixers")
    sys.modules.pop("my_mixers")
    NAMED.pop("mine", None)
    for key in [k for k in MADE if k[0] == "my_mixers"]:
        del MADE[key]


def elsewhere(folder: Path, text: str, *lines: str) -> str:
    """What another process prints that reads a certificate after some lines."""
    code = "\n".join(
        [
            f"import sys; sys.path.insert(0, {str(folder)!r})",
            *lines,
            "import dsf",
            "try:",
            f"    print(dsf.Certificate.from_json({text!r}).check())",
            "except dsf.errors.CertificateError as e:",
            "    print(e)",
        ]
    )
    run = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_a_nesting_of_ones_own_checks_here_and_elsewhere(mixers, tmp_path):
    c = mixers.nesting.certificate()
    assert c.check() and Certificate.from_json(c.to_json()).check()
    code = c.witnesses["sources"]["my_mixers"]
    assert c.claim.endswith(
        f"(as defined in my_mixers, source {code}: this code is run and trusted)"
    )
    assert "import my_mixers" in elsewhere(tmp_path, c.to_json())
    assert elsewhere(tmp_path, c.to_json(), "import my_mixers").strip() == "True"


def test_other_equations_are_another_claim(mixers, tmp_path):
    c = mixers.nesting.certificate()
    changed = SOURCE.replace("ops.log(tok.gamma)", "ops.log(ops.sqrt(tok.gamma))")
    (tmp_path / "my_mixers.py").write_text(changed)
    for cached in (tmp_path / "__pycache__").glob("*"):
        cached.unlink()
    answer = elsewhere(tmp_path, c.to_json(), "import my_mixers")
    assert "the equations have changed" in answer
    (tmp_path / "my_mixers.py").write_text("import dsf")
    answer = elsewhere(tmp_path, c.to_json(), "import my_mixers")
    assert "has made no nesting 'retnet -> mine'" in answer


def test_a_package_edge_names_no_module_and_cannot_be_claimed_for_one(mixers):
    own = dsf.lattice.edge("retnet -> gla").certificate()
    assert "sources" not in own.witnesses and "defined in" not in own.claim
    c = mixers.nesting.certificate()
    rest = {k: v for k, v in c.witnesses.items() if k not in ("module", "sources")}
    claim = c.claim.partition(" (as defined")[0]
    for witnesses in (rest, {**rest, "sources": c.witnesses["sources"]}):
        for sentence in (c.claim, claim):
            with pytest.raises(CertificateError):
                replace(c, witnesses=witnesses, claim=sentence).check()


def test_a_wrong_map_of_ones_own_is_not_certified(mixers):
    wrong = replace(mixers.nesting, T=lambda S, tok: 2 * S)
    with pytest.raises(CertificateError, match="is not proved"):
        wrong.certificate()
    with pytest.raises(CertificateError, match="is not proved"):
        dsf.lattice.add(wrong)


def test_a_later_nesting_of_the_same_name_changes_nothing(mixers):
    """A failed attempt under the name of a proved edge lends it neither its words nor its maps."""
    before = mixers.nesting.certificate()
    replace(mixers.nesting, T=twice, text="other words")
    after = mixers.nesting.certificate()
    assert after.claim == before.claim and before.check() and after.check()


def test_the_checker_evaluates_the_maps_of_the_module(mixers, monkeypatch):
    c = mixers.nesting.certificate()
    key = ("my_mixers", mixers.nesting.name)
    monkeypatch.setitem(MADE, key, [replace(mixers.nesting, T=twice)])
    with pytest.raises(CertificateError):
        c.check()


def twice(S, tok):
    return 2 * S


def test_added_nestings_are_seen_by_compare(mixers, monkeypatch):
    from dsf.verdicts.lattice import paths

    monkeypatch.setattr(paths, "_ADDED", [])
    assert dsf.lattice.find_path(dsf.retnet, mixers.mine) is None
    assert dsf.lattice.add(mixers.nesting) is mixers.nesting
    assert dsf.lattice.add(mixers.nesting) is mixers.nesting and len(paths._ADDED) == 1
    found = dsf.compare("retnet", "mine")
    assert found.verdict.name == "NESTED" and found.check()


def test_families_of_ones_own_are_separated_by_module(mixers, tmp_path):
    found = [c for c in dsf.separations.separate("deltanet", "mine")]
    assert found
    for c in found:
        assert c.check() and "as defined in my_mixers" in c.claim
    text = found[0].to_json()
    assert "import my_mixers" in elsewhere(tmp_path, text)
    assert elsewhere(tmp_path, text, "import my_mixers").strip() == "True"
    a, b = (mixers.mine.init(2, n=2, p=2, seed=k) for k in (1, 2))
    c = dsf.separations.separate_instances(a, b)
    assert c.check() and c.witnesses["sources"].keys() == {"my_mixers"}


def test_an_invariant_of_a_family_of_ones_own_is_proved_on_its_equations(mixers):
    found = dsf.separations.separate("mine", "deltanet")
    claims = [c for c in found if c.witnesses["has"] == "mine"]
    assert claims and all("mine: free tokens" in c.claim and c.check() for c in claims)


FAR = '''
import dsf
from dsf.core.kinds import Attention
from dsf.core.transition import Diag
from dsf.core.system import LTV
from dsf.core import ops
from dsf.core.tokens import Tokens
import numpy as np


class Late(dsf.gla.cls, name="late"):
    """Reads the value of four tokens ago beside."""

    def recurrence(self, tok):
        ltv, X = super().recurrence(tok)
        earlier = ops.cat([0 * X[..., :4, :, :], X[..., :-4, :, :]], -3)
        return ltv, X + earlier[..., : X.shape[-3], :, :]


class Counting(dsf.linear_attn.cls, name="counting"):
    """Other keys from the seventh token of a part on."""

    def recurrence(self, tok):
        ltv, X = super().recurrence(tok)
        rows = np.array([1 + (i > 6) for i in range(X.shape[-3])], dtype=object)
        return ltv, X * rows[:, None, None]


late, counting = dsf.family("late"), dsf.family("counting")
'''


@pytest.mark.parametrize("name", ["late", "counting"])
def test_a_class_that_looks_further_than_its_kind_has_no_invariant(name, tmp_path, monkeypatch):
    (tmp_path / "far_mixers.py").write_text(FAR)
    monkeypatch.syspath_prepend(str(tmp_path))
    far = importlib.import_module("far_mixers")
    rule = INVARIANTS["commuting transitions"]
    words = rule.words(dsf.gla, dsf.gla)
    try:
        having.words(rule, dsf.gla, words)
        with pytest.raises(CertificateError, match="more than its token and its state"):
            having.words(rule, getattr(far, name), words)
    finally:
        sys.modules.pop("far_mixers")
        for made in ("late", "counting"):
            NAMED.pop(made, None)


def test_a_family_of_ones_own_does_not_pass_for_another(mixers, monkeypatch):
    """What its class says of itself is not asked: the equations are run."""
    (c,) = [
        c for c in dsf.separations.separate("mine", "deltanet")
        if c.witnesses["has"] == "mine" and c.witnesses.get("invariant") == "commuting transitions"
    ]  # fmt: skip
    monkeypatch.setattr(mixers.mine.cls, "recurrence", dsf.rwkv6.cls.recurrence, raising=False)
    with pytest.raises(CertificateError):
        c.check()


def test_equations_without_a_source_text_are_refused(mixers):
    scope: dict = {}
    exec("def decay(tok): return None", {"__name__": "typed_in"}, scope)
    made = replace(mixers.nesting, tau=scope["decay"])
    with pytest.raises(CertificateError, match="source text"):
        dsf.core.foreign.sources(made.equations())
    del MADE["typed_in", made.name]
