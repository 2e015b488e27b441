"""Hold a published number with its evidence, and compare what we count with it."""

import re
from dataclasses import dataclass
from typing import Literal

Evidence = Literal["read", "figure", "abstract", "quoted", "recalled", "derived"]
"""How a number is known.

``read`` in the released code, its README or its configurations; off a ``figure`` or the picture of a table in its
repository; in the ``abstract``; ``quoted`` in another public document; ``recalled`` from memory, not seen; ``derived``
by arithmetic from one of these.
"""

# As a fraction: counts of operations may leave out activations, small layers or the head.
OPERATIONS = 0.005

_NUMBER = re.compile(
    r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[MGT]?)"
    r"(?: for (?P<views>\d+) views)?$"
)
_UNITS = {"": 1.0, "M": 1e6, "G": 1e9, "T": 1e12}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Hold a published number, as it was written.

    Args:
        says: the number with its unit, as ``7.42 M``, ``152 G`` or ``455 G for 3 views``.
        evidence: how it is known; see :data:`Evidence`.
        source: where it stands, where the row's place does not say it.
        other: why our count must not be compared with it, such as another counter; empty: it can be compared.
    """

    says: str
    evidence: Evidence
    source: str = ""
    other: str = ""

    def agrees(self, counted: int | float, tolerance: float = 0.0) -> bool:
        """Return whether a count rounds to the published number.

        Example: ``Figure(says="7.42 M", evidence="quoted").agrees(7_417_744)`` is True.

        Args:
            counted: parameters, or operations of one view.
            tolerance: as a fraction of the published number, a difference that counts as rounding.

        Raises:
            ValueError: the number has another form.
        """
        found = _NUMBER.match(self.says)
        if found is None:
            raise ValueError(
                f"{self.says!r} is no number with a unit, as "
                "7.42 M, 152 G or 455 G for 3 views"
            )
        unit = _UNITS[found["unit"]]
        decimals = len(found["number"].partition(".")[2])
        value = float(found["number"]) * unit
        # The views of a test share one figure in many tables.
        total = counted * int(found["views"] or 1)
        rounding = 0.5 * unit / 10**decimals
        return abs(total - value) <= max(rounding, tolerance * value)
