"""Methods, one file each. Importing this package makes every class name usable in YAML."""

from lightning_petl.adapters.adapt_former import AdaptFormer
from lightning_petl.adapters.adapter import Adapter, attach
from lightning_petl.adapters.aim import AIM
from lightning_petl.adapters.attentive_probe import AttentiveProbe
from lightning_petl.adapters.bitfit import BitFit
from lightning_petl.adapters.full_fine_tuning import FullFineTuning
from lightning_petl.adapters.linear_probe import LinearProbe
from lightning_petl.adapters.ln_tuning import LNTuning
from lightning_petl.adapters.lora import LoRA
from lightning_petl.adapters.lv_adapter import LvAdapter
from lightning_petl.adapters.m_adapter import MAdapter
from lightning_petl.adapters.multi_tunev import MultiTuneV
from lightning_petl.adapters.partial import Partial
from lightning_petl.adapters.side4video import Side4Video
from lightning_petl.adapters.st_adapter import STAdapter
from lightning_petl.adapters.step import STEP
from lightning_petl.adapters.vpt import VPT

__all__ = [
    "AIM",
    "STEP",
    "VPT",
    "AdaptFormer",
    "Adapter",
    "AttentiveProbe",
    "BitFit",
    "FullFineTuning",
    "LNTuning",
    "LinearProbe",
    "LoRA",
    "LvAdapter",
    "MAdapter",
    "MultiTuneV",
    "Partial",
    "STAdapter",
    "Side4Video",
    "attach",
]
