"""A mechanism in a file of the user's own: what it takes, and which mistakes are caught."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest

import dsf
from dsf.core.errors import ContractError, DomainError, UnknownNameError
from dsf.core.mechanism import NAMED
from dsf.tools.style import look

SOURCE = """
from dsf.core.authoring import *


class Mine(Recurrence, name="mine"):
    \"\"\"Delta rule with a decay per channel and a bonus for the current token.\"\"\"

    Wq: Array = weight("H d n")
    Wk: Array = weight("H d n")
    Wv: Array = weight("H d p")
    Wb: Array = weight("H d 1")
    Wa: Array = weight("H d n")
    r: Array = uniform("H 1 n", 0, 1)

    equations = "(I - b_t k_t k_t') Diag(a_t) S_{t-1} + b_t k_t v_t'", "S_t' q_t + q_t'(r k_t) v_t"
    spec = {"q": "L n", "k": "L n unit", "v": "L p", "beta": "L 1 in (0, 1)", "log_a": "L n < 0"}
    spec |= {"r": "1 n"}
    facts = Facts("low rank", True, "H*n*p", "7*H*n*p", source="mine2026", eigenvalues="(0, 1)")
    bibtex = \"\"\"
    @misc{mine2026,
      author = {Someone},
      title = {A mixer},
    }
    \"\"\"

    def tokens(self, u):
        u = split_heads(u)
        k, beta = ops.normalise(u @ self.Wk), ops.sigmoid(u @ self.Wb)
        log_a = ops.logsigmoid(u @ self.Wa)
        return Tokens(q=u @ self.Wq, k=k, v=u @ self.Wv, beta=beta, log_a=log_a, r=self.r)

    def recurrence(self, tok):
        erase = col(-tok.beta * tok.k)
        A = LowRank(Diag(log_a=tok.log_a), U=erase, W=col(ops.exp(tok.log_a) * tok.k))
        bonus = col(ops.asum(tok.q * tok.r * tok.k))
        return LTV(A, B=col(tok.beta * tok.k), C=row(tok.q), D=bonus), row(tok.v)
"""


def formula(S, t):
    """S_t = (I - beta k k') Diag(a) S_{t-1} + beta k v',  y = S_t' q + (q . (r k)) v."""
    S = np.exp(t.log_a)[:, None] * S
    S = S - t.beta * np.outer(t.k, t.k) @ S + t.beta * np.outer(t.k, t.v)
    return S, S.T @ t.q + (t.q @ (t.r * t.k)) * t.v


@pytest.fixture
def define(tmp_path, monkeypatch):
    """Write the file, with one piece of its text replaced, import it, and give its family."""

    def defined(old="", new=""):
        assert not old or SOURCE.count(old) == 1
        file = tmp_path / "users_mixer.py"
        file.write_text(SOURCE.replace(old, new) if old else SOURCE)
        spec = importlib.util.spec_from_file_location("users_mixer", file)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "users_mixer", module)
        spec.loader.exec_module(module)
        return dsf.family("mine")

    yield defined
    NAMED.pop("mine", None)


def test_one_file_is_enough(define):
    mine = define()
    assert dsf.testing.check_mechanism(mine, formula)[-1] == "formula_agrees"
    assert mine in dsf.core.catalogue.everything() and "mine" in dir(dsf) and dsf.mine == mine
    assert dsf.compare("mine", "gla").check() and dsf.compare("mine", "softmax").check()
    assert "A mixer" in dsf.cite(mine)
    assert dsf.atlas("mine")["mine"].structure == "low rank"


SABOTAGE = {
    "a forgotten bonus term": (", D=bonus)", ")", "field r changes no output"),
    "a wrong flop count": ("7*H*n*p", "6*H*n*p", "counted: "),
    "a wrong state size": ('"H*n*p", "7', '"H*n", "7', "kept: "),
    "keys not normalised": ("ops.normalise(u @ self.Wk)", "u @ self.Wk", "k leaves its domain"),
    "a gate of the wrong sign": ("ops.logsigmoid(", "ops.softplus(", "log_a leaves its domain"),
    "a strength up to 2": ("ops.sigmoid(", "2 * ops.sigmoid(", "beta leaves its domain"),
    "a float literal": ("-tok.beta * tok.k", "-1.0 * tok.beta * tok.k", "the literal 1.0"),
    "a parameter in the recurrence": ("tok.q * tok.r", "tok.q * self.r", "reads a parameter"),
    "tokens that see the past": (
        "k, beta = ",
        "u = ops.cumsum(u, -2); k, beta = ",
        "not pointwise",
    ),
    "a growing transition": ("-tok.beta * tok.k", "tok.beta * tok.k", "facts."),
    "a wrong structure": ('"low rank"', '"diagonal"', "facts.structure"),
    "claimed blind to order": ('eigenvalues="(0, 1)"', "order_aware=False", "facts.order_aware"),
    "erased before it decays": ("ops.exp(tok.log_a) * tok.k", "tok.k", "facts.eigenvalues"),
    "a write without its strength": ("B=col(tok.beta * tok.k)", "B=col(tok.k)", "another output"),
    "a source that nobody knows": ('source="mine2026"', 'source="nobody2026"', "no entry 'nobody"),
    "numpy in an equation": ("(u @ self.Wb)", "(np.pi * u @ self.Wb)", "np in `tokens`"),
    "a token left out": ("beta=beta, ", "", "the spec declares q, k, v, beta, log_a, r"),
    "a token without a domain": ('"beta": "L 1 in (0, 1)", ', "", "gives the fields q, k, v, beta"),
    "tokens as a dict": ("return Tokens(", "return dict(", "must return Tokens"),
    "a recurrence without values": (", row(tok.v)\n", "\n", "must return LTV, X"),
    "a bonus of the wrong sign": ("bonus = col(", "bonus = -col(", "another output"),
}


@pytest.mark.parametrize("what", SABOTAGE)
def test_the_contract_catches(define, what):
    old, new, message = SABOTAGE[what]
    with pytest.raises(ContractError, match=message):
        dsf.testing.check_mechanism(define(old, new), formula)


def test_a_formula_that_returns_the_state_twice_is_told(define):
    with pytest.raises(ContractError, match="its y has 4 numbers, that of the mechanism 2"):
        dsf.testing.check_mechanism(define().init(d=2, n=2, p=2), lambda S, t: (S, S))


DECLARATIONS = {
    "no facts": ("facts = ", "claims = ", ContractError, "declares no `facts`"),
    "no equations": ("equations = ", "words = ", ContractError, "declares no `equations`"),
    "a name with a space": ('name="mine"', 'name="my own"', ContractError, "identifier"),
    "a domain misspelt": (
        '"L n < 0"',
        '"L n <0"',
        DomainError,
        "Mine: token log_a: spec: 'L n <0'",
    ),
    "an unknown domain": ("in (0, 1)", "in (0,1)", DomainError, "in \\(0, 2\\), unit"),
    "a letter without a size": ('"1 n"', '"1 z"', DomainError, "'1 z' must be"),
    "one axis": ('"1 n"', '"n"', DomainError, "at least two axes"),
    "no text": ('"1 n"', "3", DomainError, "got 3"),
    "an unknown option": ('"1 n"', '"1 n if fast"', UnknownNameError, "names the option 'fast'"),
    "an unknown end": ("1 in (0, 1)", "1 in (0, {reach})", UnknownNameError, "the option 'reach'"),
    "an unknown structure": ('"low rank"', '"lowrank"', UnknownNameError, "one of .'scalar'"),
    "an unknown region": ('"(0, 1)")', '"(0,1)")', UnknownNameError, "eigenvalues must be one of"),
}


@pytest.mark.parametrize("what", DECLARATIONS)
def test_a_wrong_declaration_is_told_where_the_class_is_defined(define, what):
    old, new, error, message = DECLARATIONS[what]
    with pytest.raises(error, match=message):
        define(old, new)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [('Wa: Array = weight("H d n")', 'Wa: Array = weight("H d z")', "axis 'z' has no size")],
)
def test_a_shape_without_a_size_is_told_when_it_is_drawn(define, old, new, message):
    with pytest.raises(UnknownNameError, match=message):
        define(old, new).init(d=4)


@pytest.mark.parametrize("wrong", ['("pink", 0)', '("blue", 3)'])
def test_a_look_that_is_none_is_told_with_the_colours(define, wrong):
    define('name="mine"', f'name="mine", look={wrong}')
    with pytest.raises(UnknownNameError, match=r"must be a colour .*vermillion"):
        look("mine")


def test_a_formula_that_is_none_is_told_with_the_letters(define):
    with pytest.raises(UnknownNameError, match="may hold integers"):
        str(define('"7*H*n*p"', '"7 H n p"').init(d=4))


def test_a_name_that_is_taken_is_refused(define):
    with pytest.raises(UnknownNameError, match="Choose another name"):
        define('name="mine"', 'name="gla"')
