"""Many experiments from one pass of the trunk."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypedDict, cast

import torch
from einops import rearrange
from jaxtyping import Float
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer
from torchmetrics import MetricCollection

from data_modules.batch import Features, VideoBatch
from lightning_petl.adapters import attach
from lightning_petl.artifacts.format import Trained
from lightning_petl.backbones.children import Reference
from lightning_petl.backbones.readers import Readers
from lightning_petl.backbones.vit import VideoViT
from lightning_petl.checkpoints.trainable_state import trainable_state
from lightning_petl.distributed.collectives import gather_objects, min_over_ranks
from lightning_petl.losses.cross_entropy import ViewLogits, classification_loss
from lightning_petl.metrics.accuracy import FiniteShare, MeanLoss, accuracies
from lightning_petl.optim.joint import JointOptimizer
from lightning_petl.optim.schedule import ScheduledRates
from lightning_petl.shapes import Video
from lightning_petl.tasks.bank.member import Member, expand
from lightning_petl.tasks.bank.parallel_readers import ParallelReaders
from lightning_petl.tasks.classification import (
    Answers,
    accept_cache,
    check_labels,
    clip_features,
    is_silent,
)
from lightning_petl.tasks.task import Task
from lightning_petl.tasks.updates import Updates, accumulate

READER = "Bank"
RATES_TAG = "lr-Together"
"""First part of the TensorBoard tags of the learning rates.

Lightning's LearningRateMonitor would take the class of the optimizer, and the curves of a run that an earlier release
began would end.
"""


class Losses(TypedDict):
    """What a training step returns: the sum that is minimised, and the loss of each member."""

    loss: Tensor
    losses: Float[Tensor, " m"]


class Bank(Task):
    """Readers and heads of many experiments behind one pass of a frozen trunk; ``loss = sum over members of loss_m``.

    No two members share a parameter, so the gradient of the sum is each member's own. Each has its initial values,
    dropout, optimizer, schedule, clipping norm, metrics, TensorBoard run, artifact and best weights as it would in a
    run of its own (:class:`~lightning_petl.tasks.classification.VideoClassifier`) with the same seed; data, frames
    and augmentation are shared. The first loss that is not a number stops its member, and no other.

    In fp16, members share the gradient scaler: where one overflows, all skip the update.

    Args:
        backbone: the trunk.
        members: recipes by name.
        labels: class names by index.
        grid: values by path into a member, as ``optim.lr``; every member is trained at every point of it.

    Raises:
        ValueError: a member that changes the trunk, or what :func:`~lightning_petl.tasks.bank.member.expand` raises.
    """

    def __init__(
        self,
        backbone: VideoViT,
        members: dict[str, Member],
        labels: list[str],
        *,
        grid: dict[str, list[Any]] | None = None,
    ) -> None:
        super().__init__()
        self.members, self.labels = expand(members, grid or {}), tuple(labels)
        for member in self.members.values():
            check_labels(labels, member.label_smoothing)
        self.backbone = backbone
        self.heads = self._build(backbone)
        self.stopped: dict[str, int] = {}
        """Member -> updates that were made when its loss was no number."""
        self._saved_streams: list[Any] = []
        self.begin()
        self.val_metrics, self.test_metrics = (
            self._metrics("val"),
            self._metrics("test"),
        )
        self.val_losses = nn.ModuleList([MeanLoss() for _ in self.members])
        self.answered = nn.ModuleList([FiniteShare() for _ in self.members])
        self.silent_members = set[str]()
        """Those of which no output of the last evaluation was a number; the same on all ranks."""

    def _build(self, backbone: VideoViT) -> nn.ModuleList:
        """Hang all readers beside the trunk; return the heads.

        Both are made from the random state in which a run of the member's own would make them.
        """
        readers = list[Readers]()
        heads = nn.ModuleList()
        for name, member in self.members.items():
            with torch.random.fork_rng([]):
                if member.seed is not None:
                    torch.default_generator.manual_seed(member.seed)
                readers.append(_readers(backbone, name, member))
                own = readers[-1].all()
                width = own[0].feature_dim if own else backbone.dim
                heads.append(member.head.build(width, len(self.labels)))
        parallel_readers = ParallelReaders(backbone, readers)
        if not parallel_readers.bare:
            backbone.add_reader(READER, parallel_readers)
        # the trunk owns its readers
        self._parallel_readers = Reference(parallel_readers)
        return heads

    def _metrics(self, stage: str) -> nn.ModuleList:
        return nn.ModuleList(
            [accuracies(len(self.labels), f"{name}/{stage}/") for name in self.members]
        )

    @property
    def parallel_readers(self) -> ParallelReaders:
        """All readers, as the one that the trunk knows, if there are any."""
        return self._parallel_readers.module

    @property
    def owners(self) -> dict[str, str]:
        """Owner of each trainable parameter: ``<member>/<adapter>``, or ``<member>/head``."""
        return {
            name: f"{member}/{owner}"
            for member, owners in zip(self.members, self._owned(), strict=True)
            for name, owner in owners.items()
        }

    def _owned(self) -> Iterator[dict[str, str]]:
        """Of each member, the owner of each trainable parameter."""
        for number, (readers, head) in enumerate(
            zip(self.parallel_readers.members, self.heads, strict=True)
        ):
            prefix = f"backbone.readers.{READER}.members.{number}."
            inside = {
                f"{prefix}{name}": name.partition(".")[0]
                for name, _ in readers.named_parameters()
            }
            yield inside | {
                f"heads.{number}.{name}": "head" for name, _ in head.named_parameters()
            }

    @property
    def unreachable(self) -> set[str]:
        """Trainable parameters without a path to the read-out, and those of stopped members."""
        dead = {
            name
            for name, owner in self.owners.items()
            if owner.rpartition("/")[0] in self.stopped
        }
        return dead | super().unreachable

    def trained(self, name: str) -> Trained:
        """Return what an artifact holds of a member."""
        number, member = list(self.members).index(name), self.members[name]
        parts = {
            "backbone.readers": self.parallel_readers.members[number],
            "head": self.heads[number],
        }
        weights = {
            f"{part}.{key}": v
            for part, module in parts.items()
            for key, v in trainable_state(module).items()
        }
        return Trained(
            self.backbone, member.adapters, member.head, self.labels, weights
        )

    def forward(self, video: Video | Features) -> list[ViewLogits]:
        """The logits of each member."""
        features, views = clip_features(self.backbone, video)
        logits: list[ViewLogits] = []
        for head, stream, feature in zip(
            self.heads,
            self.parallel_readers.streams,
            self.parallel_readers.of_each(features),
            strict=True,
        ):
            with stream.drawing(feature.device):
                logits.append(rearrange(head(feature), "(b v) k -> b v k", v=views))
        return logits

    def training_step(self, batch: VideoBatch, batch_idx: int) -> Losses:
        losses = [
            classification_loss(
                logits, batch.label, batch.partners, member.label_smoothing
            )
            for logits, member in zip(
                self(batch.video), self.members.values(), strict=True
            )
        ]
        told = torch.stack(losses).detach()
        self._stop(told)
        terms = [
            _nothing(self._weights_of(number)) if name in self.stopped else loss
            for number, (name, loss) in enumerate(
                zip(self.members, losses, strict=True)
            )
        ]
        total = torch.stack(terms).sum()
        going = len(self.members) - len(self.stopped)
        self.log(
            "train/loss",
            total.detach() / going,
            batch_size=len(batch.label),
            prog_bar=True,
        )
        return Losses(loss=total, losses=told)

    def _stop(self, losses: Float[Tensor, " m"]) -> None:
        """Stop the members whose loss is no number, on all ranks where it is none on one."""
        finite = min_over_ranks(losses.isfinite().float())
        for name, good in zip(self.members, finite.tolist(), strict=True):
            if not good and name not in self.stopped:
                self.stopped[name] = self.global_step
                rank_zero_warn(
                    f"member {name}: its loss is no number after {self.global_step} updates; it stops here"
                )
        if len(self.stopped) == len(self.members):
            raise ValueError(
                f"the loss of every member is no number, since these updates: {self.stopped}"
            )

    def validation_step(self, batch: VideoBatch, batch_idx: int) -> None:
        for number, answers in self._evaluated(batch, self.val_metrics):
            loss = cast(MeanLoss, self.val_losses[number])
            loss.update(answers.logits, answers.label, answers.readable)

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of each member that goes on; ``val/top1`` is that of the best one."""
        super().on_validation_epoch_end()
        for number in self._going:
            self.log(
                f"{self._names[number]}/val/loss",
                cast(MeanLoss, self.val_losses[number]),
            )
        best = max(self._log(self.val_metrics), default=0.0)
        self.log(
            "val/top1", best, prog_bar=True, sync_dist=True, reduce_fx="max"
        )  # equal on all ranks

    def test_step(self, batch: VideoBatch, batch_idx: int) -> None:
        for _ in self._evaluated(batch, self.test_metrics):
            pass

    def on_test_epoch_end(self) -> None:
        """As :meth:`on_validation_epoch_end`."""
        super().on_test_epoch_end()
        self._log(self.test_metrics)

    def _log(self, metrics: nn.ModuleList) -> list[float]:
        """Log the metrics of each member that goes on, and return its top-1. All ranks must call it."""
        scores: list[float] = []
        self.silent_members = set()
        for number in self._going:
            if is_silent(cast(FiniteShare, self.answered[number])):
                self.silent_members.add(self._names[number])
            found = cast(MetricCollection, metrics[number])
            self.log_dict(dict(found.items()))
            scores.append(float(found["top1"].compute()))
        self.silent = len(self.silent_members) == len(self._going)
        return scores

    def predict_step(self, batch: VideoBatch, batch_idx: int) -> None:
        raise ValueError(
            "a bank has many answers: predict with a member, --artifact <run>/members/<name>/artifact"
        )

    def _evaluated(
        self, batch: VideoBatch, metrics: nn.ModuleList
    ) -> Iterator[tuple[int, Answers]]:
        """Count what each member that goes on makes of a batch."""
        found = self(batch.video)
        for number in self._going:
            answers = Answers.of(batch, found[number])
            self._no_numbers.update(
                f"{clip} (member {self._names[number]})"
                for clip in answers.without_numbers
            )
            scores = cast(MetricCollection, metrics[number])
            scores.update(answers.probabilities, answers.label, answers.readable)
            cast(FiniteShare, self.answered[number]).update(
                answers.numbers, answers.readable
            )
            yield number, answers

    @property
    def _names(self) -> list[str]:
        return list(self.members)

    @property
    def _going(self) -> list[int]:
        """Numbers of the members that have not stopped; the same on all ranks."""
        return [
            number
            for number, name in enumerate(self.members)
            if name not in self.stopped
        ]

    def setup(self, stage: str) -> None:
        """Compare a cache of features with the trunk; accumulate gradients as the members ask for, all the same."""
        accept_cache(self.backbone, self.trainer)
        if stage != "fit":
            return
        asked = {member.optim.global_batch for member in self.members.values()}
        if len(asked) > 1:
            raise ValueError(
                f"members share their batches: global_batch must be one for all of them, not {asked}"
            )
        if self.trainer.gradient_clip_val:
            raise ValueError(
                "each member has a gradient of its own: set its clip_norm, not trainer.gradient_clip_val"
            )
        accumulate(self.trainer, asked.pop())

    def configure_optimizers(self) -> Any:
        updates, parameters = Updates.of(self.trainer), dict(self.named_parameters())
        optimizers, factors = dict[str, Optimizer](), list[Callable[[int], float]]()
        for (name, member), owned in zip(
            self.members.items(), self._owned(), strict=True
        ):
            optim, own = member.optim, {key: parameters[key] for key in owned}
            optimizers[name] = optim.optimizer(own, owned, updates.rate(optim))
            factor = optim.schedule.factor(updates.steps, updates.epochs)
            every = updates.per_epoch if optim.schedule.per == "epoch" else 1
            for group in optimizers[name].param_groups:
                group["name"] = f"{name}/{group['name']}"
                factors.append(lambda i, factor=factor, every=every: factor(i // every))
        optimizer = JointOptimizer(optimizers, self.stopped)
        scheduler = ScheduledRates(optimizer, factors, self.print)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {
                "scheduler": scheduler,
                "interval": "step",
                "name": RATES_TAG,
            },
        }

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradient of each member to its own norm."""
        for number, member in enumerate(self.members.values()):
            if member.clip_norm is not None:
                clip_grad_norm_(self._weights_of(number), member.clip_norm)

    def _weights_of(self, number: int) -> list[nn.Parameter]:
        return [
            *self.parallel_readers.members[number].parameters(),
            *self.heads[number].parameters(),
        ]

    def on_train_start(self) -> None:
        """Dropout of each member draws what a run of its own would draw, or goes on where it was saved."""
        rank, ranks = self.trainer.global_rank, self.trainer.world_size
        if self._saved_streams and len(self._saved_streams) != ranks:
            rank_zero_warn(
                f"the checkpoint holds the random streams of {len(self._saved_streams)} rank(s), this run has {ranks}: "
                "dropout will differ from a run without the stop"
            )
        for number, (stream, member) in enumerate(
            zip(self.parallel_readers.streams, self.members.values(), strict=True)
        ):
            stream.start(
                self.device, None if member.seed is None else member.seed + rank
            )
            if len(self._saved_streams) == ranks:
                stream.state = [
                    state.cpu() for state in self._saved_streams[rank][number]
                ]
        self._saved_streams = []

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        streams = gather_objects(
            [stream.state for stream in self.parallel_readers.streams]
        )
        checkpoint["bank"] = {
            "members": list(self.members),
            "stopped": dict(self.stopped),
            "streams": streams,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "bank" not in checkpoint:
            raise ValueError("not a training state of a bank")
        saved = checkpoint["bank"]
        if saved["members"] != list(self.members):
            raise ValueError(
                f"the checkpoint's members are {', '.join(saved['members'])}: not those of this bank"
            )
        super().on_load_checkpoint(checkpoint)
        self.stopped |= saved["stopped"]
        self._saved_streams = saved["streams"]


def _readers(vit: VideoViT, name: str, member: Member) -> Readers:
    """Take the readers of a member off the trunk again.

    Raises:
        ValueError: a method does anything else to the trunk, which the other members share.
    """
    before = _outside_readers(vit)
    attach(vit, member.adapters)
    inside = {
        owner for key, owner in vit.owners.items() if not key.startswith("readers.")
    }
    if inside or _outside_readers(vit) != before:
        found = ", ".join(sorted(inside)) or ", ".join(
            adapter.name for adapter in member.adapters
        )
        raise ValueError(
            f"member {name}: {found} changes the trunk, whose one pass all members of a bank share; only readers may "
            "stand here (side networks and probes): train it in a run of its own"
        )
    readers = vit.readers
    vit.readers = Readers()
    vit.owners.clear()
    return readers


def _outside_readers(vit: VideoViT) -> list[int]:
    """What the trunk consists of, but for its readers."""
    return [
        id(module)
        for name, module in vit.named_modules()
        if not name.startswith("readers")
    ]


def _nothing(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Zero, with a gradient of zeros: ranks wait for a gradient of every parameter."""
    return torch.stack(
        [(parameter.nan_to_num() * 0).sum() for parameter in parameters]
    ).sum()
