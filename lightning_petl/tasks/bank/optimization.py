"""Build one optimizer and one schedule out of those of all members."""

from collections.abc import Mapping, Sequence

from torch import nn

from lightning_petl.optim.joint import JointOptimizer
from lightning_petl.optim.optimizer import OptimizerConfig
from lightning_petl.optim.schedule import Factor
from lightning_petl.tasks.bank.member import Member
from lightning_petl.tasks.updates import Updates


def joint_optimizer(
    members: Mapping[str, Member],
    owners: Sequence[Mapping[str, str]],
    parameters: Mapping[str, nn.Parameter],
    updates: Updates,
    stopped: Mapping[str, int],
) -> tuple[JointOptimizer, list[Factor]]:
    """Return the optimizer of all members, and for each of its groups what its rate is multiplied with at update i.

    A group is called ``<member>/<owner>/decay``, or ``/no_decay``.

    Args:
        members: by name.
        owners: of each member, the owner of each trainable parameter.
        parameters: of all members, by name.
        updates: those of the training.
        stopped: members that make no more steps, by name; it may grow.
    """
    optimizers = {}
    factors: list[Factor] = []
    for (name, member), owned in zip(members.items(), owners, strict=True):
        own = {key: parameters[key] for key in owned}
        rate = updates.rate(member.optim)
        optimizer = member.optim.optimizer(own, owned, rate)
        factor = _factor_of_update(member.optim, updates)
        for group in optimizer.param_groups:
            group["name"] = f"{name}/{group['name']}"
            factors.append(factor)
        optimizers[name] = optimizer
    return JointOptimizer(optimizers, stopped), factors


def _factor_of_update(optim: OptimizerConfig, updates: Updates) -> Factor:
    """Return the schedule as a function of the update, where it is one of the epoch, too.

    Lightning steps a scheduler per update or per epoch; members of both kinds share one.
    """
    factor = optim.schedule.factor(updates.steps, updates.epochs)
    if optim.schedule.per == "step":
        return factor
    return lambda i: factor(i // updates.per_epoch)
