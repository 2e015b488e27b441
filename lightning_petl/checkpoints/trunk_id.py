"""Identify the frozen weights that a trainable state belongs to."""

from typing import NamedTuple


class TrunkId(NamedTuple):
    """Name the frozen weights that a trainable state was trained on.

    Attributes:
        name: of the architecture, for messages.
        weights_hash: SHA-256 of the weights, as hexadecimal digits; it alone decides.
    """

    name: str
    weights_hash: str

    def require(self, here: "TrunkId") -> None:
        """Refuse other frozen weights.

        Raises:
            ValueError: ``here`` holds weights of another hash.
        """
        if self.weights_hash != here.weights_hash:
            raise ValueError(
                f"trained on the trunk {self.name!r} with weights {self.weights_hash[:12]}, but this trunk is "
                f"{here.name!r} with weights {here.weights_hash[:12]}: use the trunk it was trained on"
            )
