"""Two answers to one question: which modules are children of another one."""

from typing import Generic, TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


class Extension(nn.ModuleDict):
    """Hold what methods add at one place of a trunk, by the name of the method.

    The trunk's own modules never lie in one. So a walk over children tells the frozen trunk from what was added by the
    type of a child, and no list of names has to be kept.
    """

    def insert(self, name: str, module: nn.Module) -> None:
        """Register a module as ``name``, or as ``name_2``, ``name_3`` where a stack holds a method twice."""
        key = name
        number = 1
        while key in self:
            number += 1
            key = f"{name}_{number}"
        self[key] = module


class Reference(Generic[M]):
    """Refer to a module that another module owns.

    ``nn.Module`` registers every module that is assigned to it as a child. Its parameters would then be saved and
    listed twice, and a layer that needs its parent would make a circle.
    """

    def __init__(self, module: M) -> None:
        self.module = module
