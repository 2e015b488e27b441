"""Sort trainable parameters into groups of one owner that either decay or do not."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from torch import nn

WeightDecayRule = Literal["none", "no_bias", "all"]
"""Which parameters decay: none; all but vectors (biases, norm scales); all."""


def parameter_groups(
    parameters: Mapping[str, nn.Parameter],
    owners: Mapping[str, str],
    rule: WeightDecayRule,
) -> list[dict[str, Any]]:
    """Return the trainable parameters by owner and decay: ``{"name", "owner", "decays", "params"}`` each.

    A LoRA and a head under ``no_bias`` give, in the order in which their first parameters come::

        LoRA/decay    head/decay    head/no_decay

    Args:
        parameters: parameters by name; frozen ones are left out.
        owners: owner of each trainable parameter by name.
        rule: which of them decay.

    Raises:
        ValueError: nothing trains, or a trainable parameter has no owner.
    """
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in trainable(parameters.items()):
        owner = _owner(name, owners)
        decays = _decays(parameter, rule)
        key = f"{owner}/{'decay' if decays else 'no_decay'}"
        if key not in groups:
            groups[key] = _empty_group(key, owner, decays)
        groups[key]["params"].append(parameter)
    if not groups:
        raise ValueError(
            "nothing trains: every parameter is frozen; add an adapter or a head"
        )
    return list(groups.values())


def trainable(
    named: Iterable[tuple[str, nn.Parameter]],
) -> Iterable[tuple[str, nn.Parameter]]:
    """Return those of the named parameters that train."""
    return (
        (name, parameter) for name, parameter in named if parameter.requires_grad
    )


def _empty_group(name: str, owner: str, decays: bool) -> dict[str, Any]:
    # `name` becomes a curve of Lightning's LearningRateMonitor: lr-AdamW/<name>
    return {"name": name, "owner": owner, "decays": decays, "params": []}


def _owner(name: str, owners: Mapping[str, str]) -> str:
    if name not in owners:
        raise ValueError(
            f"parameter {name!r} trains but belongs to no adapter and not to the head"
        )
    return owners[name]


def _decays(parameter: nn.Parameter, rule: WeightDecayRule) -> bool:
    # shape rather than name: a norm's scale is called `weight`, too
    return rule == "all" or (rule == "no_bias" and parameter.ndim > 1)
