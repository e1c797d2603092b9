"""Checkers for instances: stored parameters and inputs, run in balls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dsf.claims.exact_tokens import get, named, require
from dsf.claims.separation import BITS, below, common, reproduced
from dsf.claims.witnesses import floats, real
from dsf.core.certificate import Certificate, Scope, Strength
from dsf.core.family import Family
from dsf.core.mechanism import Mechanism

INPUT_SENTENCES = {
    "superposition": "{has} doubles its output when the input is doubled, {violates} does not",
    "channels apart": "{has} keeps its channels apart, in {violates} with d > 1 one reaches the "
    "other",
}


def input_sentence(invariant: str, has: Any, violates: Any, length: int) -> str:
    """The claim of a separation by inputs and parameters."""
    reason = INPUT_SENTENCES[invariant].format(has=has, violates=violates)
    return f"{violates} is not nested in {has}: {reason} ({length} token{'s' * (length > 1)})"


def instance_sentence(first: Any, second: Any, length: int, token: int) -> str:
    """The claim that two instances differ."""
    return (
        f"these instances of {first} and {second} differ: on {length} "
        f"token{'s' * (length > 1)} the outputs at token {token} are apart"
    )


def _doubled(u: list[np.ndarray]) -> bool:
    return u[0].shape[-1] == 1 and bool(np.all(u[1] == 2 * u[0]))


def _one_channel(u: list[np.ndarray]) -> bool:
    return u[0].shape[-1] == 2 and bool(np.all(u[0][:, 1] == u[1][:, 1]))


# invariant -> (which pairs of inputs it is stated on, the expression in the outputs)
RULES: dict[str, tuple[Callable[[list[np.ndarray]], bool], Callable[[list[Any]], Any]]] = {
    "superposition": (_doubled, lambda y: y[1] - y[0] - y[0]),
    "channels apart": (_one_channel, lambda y: y[1][:, 1] - y[0][:, 1]),
}


def inputs(c: Certificate) -> None:
    """An expression in the outputs of one instance, on stored inputs."""
    from dsf.core.worlds import balls, precision

    w = c.witnesses
    name = str(get(w, "invariant"))
    require(name in RULES, f"no invariant named {name!r}")
    fits, expression = RULES[name]
    has, violates = named(w, "has"), named(w, "violates")
    u = [real(x, "an input", (None, None)) for x in get(w, "inputs")]
    require(
        len(u) == 2 and u[0].shape == u[1].shape and fits(u), f"{name} is not about these inputs"
    )
    mech = _instance(violates, get(w, "parameters"))
    with precision(BITS):
        exact = mech.map(balls)
        y = [exact(balls(x)) for x in u]
        require(y[0].shape == u[0].shape, "the outputs must be as wide as the inputs")
        reproduced(c.lower, max(below(e) for e in np.ravel(expression(y))))
        for seed in range(3):
            other = has.init(d=u[0].shape[-1], n=2, seed=seed).map(balls)
            for e in np.ravel(expression([other(balls(x)) for x in u])):
                require(bool(e.contains(0)), f"{has} does not have the invariant at all")
    common(c, Scope.MECHANISM, Strength.ENCLOSED)
    require(c.claim == input_sentence(name, has, violates, len(u[0])), "the claim differs")


def instances(c: Certificate) -> None:
    """The outputs of two instances on one input, enclosed and apart."""
    from dsf.core.worlds import balls, precision

    w = c.witnesses
    names = named(w, "first"), named(w, "second")
    u = floats(w, "inputs", None, None)
    a = _instance(names[0], get(w, "first parameters"))
    b = _instance(names[1], get(w, "second parameters"))
    with precision(BITS):
        y, z = (mech.map(balls)(balls(u)) for mech in (a, b))
        require(y.shape == z.shape, "the outputs have different shapes")
        sizes = np.array([[below(e) for e in row] for row in y - z])
        reproduced(c.lower, float(sizes.max()))
    token = int(np.argmax(sizes.max(axis=-1)))
    common(c, Scope.INSTANCE, Strength.ENCLOSED)
    require(c.claim == instance_sentence(*names, len(u), token), "the claim says something else")


def _instance(f: Family, parameters: Mapping[str, Any]) -> Mechanism:
    """The mechanism with the stored arrays; every one must be finite float64."""
    require(isinstance(parameters, Mapping), "parameters are arrays by name")
    for name, x in parameters.items():
        real(x, f"parameter {name}", (None,) * np.ndim(x))
    try:
        return replace(f.bare(), **parameters)
    except TypeError as e:
        require(False, f"{f} has other parameters ({e})")
        raise
