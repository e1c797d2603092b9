"""Typed errors: each derives from `DSFError` and from the builtin a caller would expect.

A message is a diagnosis: what was given, what is required, the likely cause, what to do.
"""

from __future__ import annotations

from typing import Self


class DSFError(Exception):
    """Base class of every error raised on purpose by `dsf`."""


class ShapeError(DSFError, ValueError):
    """An array has the wrong number of axes or the wrong sizes."""


class DTypeError(DSFError, TypeError):
    """An array has a dtype that the mechanism cannot compute with."""


class DomainError(DSFError, ValueError):
    """A value lies outside the declared domain (a gate outside (0, 1), a zero normaliser, ...)."""


class NonFiniteError(DSFError, ValueError):
    """An input that must be finite holds NaN or infinity."""


class OverflowingScanError(DSFError, OverflowError):
    """A state left the finite range of its dtype although every input was finite.

    `index`: of the first bad step, where it is known; `state`: of a stream, before the part that
    failed.
    """

    index: int | None = None
    state: object = None

    @classmethod
    def at(cls, index: int | None, message: str) -> Self:
        """The error of a step."""
        error = cls(message)
        error.index = index
        return error


class TooLargeError(DSFError, MemoryError):
    """A dense object would exceed the byte limit."""


class TimeVaryingError(DSFError, ValueError):
    """A time-invariant object was asked of a system whose coefficients vary."""


class NotLinearError(DSFError, TypeError):
    """A linear system was asked of a mechanism whose step is not affine in its state."""


class IllConditionedError(DSFError, ArithmeticError):
    """A diagonalisation or inversion would lose more than half of the digits."""


class NotConvergedError(DSFError, ArithmeticError):
    """An iteration ended before it reached what was asked of it."""


class CertificateError(DSFError, AssertionError):
    """A certificate does not follow from its witnesses."""


class ContractError(DSFError, AssertionError):
    """A mechanism breaks the contract: a wrong fact, an impure equation, worlds that disagree."""


class UnknownNameError(DSFError, KeyError):
    """A name that the package does not know: a mechanism, an option, a field, a table."""

    def __str__(self) -> str:  # KeyError would print the repr of the message
        return str(self.args[0])


class MissingExtraError(DSFError, ImportError):
    """An optional library is needed and not installed."""


class KernelError(DSFError, ValueError):
    """A backend was asked for that is unknown, not installed, or cannot run this kernel."""


class RankError(DSFError, RuntimeError):
    """Processes of one distributed call do not fit together, or another one failed."""


class OutputError(DSFError, OSError):
    """A file of results cannot be written: a full disk, no permission, a file in the way."""


class FetchError(DSFError, OSError):
    """A trained model could not be fetched, or its archive is not the known one."""


class SweepError(DSFError, RuntimeError):
    """A task of a sweep has no result: it raised, its process died, or its time was over."""


class EmptyProblemError(DSFError, ValueError):
    """An optimisation problem has no constraint, so every answer is one."""


class TieError(DSFError, ValueError):
    """Several tokens share the best score and none was chosen."""


class SolverMissingError(DSFError, ImportError):
    """A conic solver is needed and not installed."""


class TooManySelectionsError(DSFError, ValueError):
    """More selections of tokens than an enumeration may visit."""


class NotContractive(UserWarning):
    """A transition has an eigenvalue outside [-1, 1]: states may grow without bound."""


# what Python raises where data are not what a computation expects
STUMBLES = (
    TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError,
    MemoryError,
)  # fmt: skip
