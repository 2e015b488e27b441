"""Configure the space in which videos and sentences meet, and build the layers that lead into it."""

from dataclasses import dataclass, field

from torch import nn

from lightning_petl.heads.similarity import MeanPooling, SimilarityRecipe


@dataclass(frozen=True, kw_only=True)
class JointSpace:
    """Configure how videos and sentences meet.

    Args:
        similarity: of a sentence and a video: ``MeanPooling()`` or ``WTI()``.
        train_projection: the trunk's final norm and the projection of its dual encoder train, too.
        context_length: tokens of a sentence, fewer than those of the trunk's own text tower; None: as many.
        block: sentences and videos that the loss compares at a time, which bounds its memory; None: all.
        dual_softmax: factor of the rows ``test/dual_softmax/...``, a number apart; None: no such rows.

    Raises:
        ValueError: a block or a factor that is not above zero.
    """

    similarity: SimilarityRecipe = field(default_factory=MeanPooling)
    train_projection: bool = False
    context_length: int | None = None
    block: int | None = None
    dual_softmax: float | None = None

    def __post_init__(self) -> None:
        for name, value in (
            ("block", self.block),
            ("dual_softmax", self.dual_softmax),
        ):
            if value is not None and value <= 0:
                raise ValueError(
                    f"joint.{name} {value} must be above zero, or left out"
                )


def new_projection(dim: int, embed_dim: int) -> nn.Linear:
    """Return a linear map without bias into the joint space, N(0, 1 / dim), as CLIP begins its own."""
    linear = nn.Linear(dim, embed_dim, bias=False)
    nn.init.normal_(linear.weight, std=dim**-0.5)
    return linear


def zero_projection(width: int, dim: int) -> nn.Linear:
    """Return a linear map without bias that is zero: what it reads adds nothing at the start."""
    linear = nn.Linear(width, dim, bias=False)
    nn.init.zeros_(linear.weight)
    return linear
