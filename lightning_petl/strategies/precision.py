"""Name the numbers in which a training computes."""

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
"""Parameters that train are float32 under each. The frozen trunk has a dtype of its own."""

_ALIASES = {
    "None": "32-true",
    "32": "32-true",
    "bf16": "bf16-mixed",
    "16": "16-mixed",
}


def resolve_precision(precision: str | int | None, *, on_cpu: bool = False) -> str:
    """Return the one of :data:`PRECISIONS` that a user's word means.

    Args:
        precision: its name, or one of Lightning's short forms.
        on_cpu: training will run on a CPU.

    Raises:
        ValueError: it is another one, or float16 on a CPU, where Lightning would silently take bfloat16.
    """
    name = _ALIASES.get(str(precision), str(precision))
    if name in ("bf16-true", "16-true"):
        raise ValueError(
            f"trainer.precision {name} would keep adapters and head in half precision, where small updates are lost; "
            "the frozen trunk alone goes there with --model.backbone.frozen_dtype=bfloat16, under a trainer.precision "
            f"of {', '.join(PRECISIONS)}"
        )
    if name not in PRECISIONS:
        raise ValueError(
            f"trainer.precision {name}: choose one of {', '.join(PRECISIONS)}"
        )
    if name == "16-mixed" and on_cpu:
        raise ValueError(
            "trainer.precision 16-mixed: torch has no float16 training on CPUs; take bf16-mixed or a GPU"
        )
    return name
