"""Train many experiments with one pass of the trunk."""

from collections.abc import Iterator, Mapping, Sequence
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
from lightning_petl.artifacts.format import Trained
from lightning_petl.backbones.children import Reference
from lightning_petl.backbones.vit import VideoViT
from lightning_petl.checkpoints.trainable_state import trainable_state
from lightning_petl.distributed.collectives import gather_objects, min_over_ranks
from lightning_petl.losses.cross_entropy import ViewLogits, classification_loss
from lightning_petl.metrics.accuracy import FiniteShare, MeanLoss, accuracies
from lightning_petl.optim.schedule import ScheduledRates
from lightning_petl.shapes import Video
from lightning_petl.tasks.bank.grid import expand
from lightning_petl.tasks.bank.member import Member
from lightning_petl.tasks.bank.member_modules import MemberModules, build_modules
from lightning_petl.tasks.bank.optimization import joint_optimizer
from lightning_petl.tasks.bank.parallel_readers import ParallelReaders
from lightning_petl.tasks.classification import check_labels
from lightning_petl.tasks.features import clip_features, require_cache_of_trunk
from lightning_petl.tasks.outputs import (
    EvaluatedClips,
    Scores,
    is_silent,
    scores_of,
)
from lightning_petl.tasks.task import Task
from lightning_petl.tasks.updates import Updates, accumulate

READER = "Bank"
RATES_TAG = "lr-Together"
"""First part of the TensorBoard tags of the learning rates.

Lightning's LearningRateMonitor would take the class of the optimizer, and the curves of a run that an earlier release
began would end.
"""


class BankLosses(TypedDict):
    """Hold what a training step returns: the sum that is minimized, and the loss of each member."""

    loss: Tensor
    losses: Float[Tensor, " m"]


class Bank(Task):
    """Train the readers and heads of many experiments behind one pass of a frozen trunk; ``loss = sum_m loss_m``.

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
        ValueError: a member that changes the trunk, or what :func:`~lightning_petl.tasks.bank.grid.expand` raises.
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
        self.members = expand(members, grid or {})
        self.labels = tuple(labels)
        for member in self.members.values():
            check_labels(labels, member.label_smoothing)
        self.backbone = backbone
        modules = self._build_modules()
        self._parallel_readers = self._hang_beside_trunk(modules)
        self.heads = nn.ModuleList([built.head for built in modules])
        self.stopped: dict[str, int] = {}
        """Member -> updates that were made when its loss was no number."""
        self.own_best = set[str]()
        """Members that are evaluated with the weights of their own best validation."""
        self._saved_streams: list[Any] = []
        self.begin()
        self.val_metrics = self._accuracies("val")
        self.test_metrics = self._accuracies("test")
        self.val_losses = nn.ModuleList([MeanLoss() for _ in self.members])
        self.finite_shares = nn.ModuleList([FiniteShare() for _ in self.members])
        self.silent_members = set[str]()
        """Those of which no output of the last evaluation was a number; the same on all ranks."""

    def _build_modules(self) -> list[MemberModules]:
        modules: list[MemberModules] = []
        for name, member in self.members.items():
            built = build_modules(self.backbone, name, member, len(self.labels))
            modules.append(built)
        return modules

    def _hang_beside_trunk(
        self, modules: Sequence[MemberModules]
    ) -> Reference[ParallelReaders]:
        parallel_readers = ParallelReaders(self.backbone, modules)
        # without any reader the trunk's own feature is read, and a cache can hold it
        if not parallel_readers.bare:
            self.backbone.add_reader(READER, parallel_readers)
        # the trunk owns its readers
        return Reference(parallel_readers)

    def _accuracies(self, stage: str) -> nn.ModuleList:
        metrics = nn.ModuleList()
        for name in self.members:
            metrics.append(accuracies(len(self.labels), f"{name}/{stage}/"))
        return metrics

    @property
    def parallel_readers(self) -> ParallelReaders:
        """Return all readers as the one that the trunk knows, if there are any."""
        return self._parallel_readers.module

    @property
    def owners(self) -> dict[str, str]:
        """Return the owner of each trainable parameter: ``<member>/<adapter>``, or ``<member>/head``."""
        found: dict[str, str] = {}
        for member, owners in zip(
            self.members, self._owners_by_member(), strict=True
        ):
            for name, owner in owners.items():
                found[name] = f"{member}/{owner}"
        return found

    def _owners_by_member(self) -> Iterator[dict[str, str]]:
        """Yield, for each member, the owner of each trainable parameter."""
        for number, readers in enumerate(self.parallel_readers.members):
            owners: dict[str, str] = {}
            prefix = f"backbone.readers.{READER}.members.{number}."
            for name, _ in readers.named_parameters():
                owners[prefix + name] = name.partition(".")[0]
            for name, _ in self.heads[number].named_parameters():
                owners[f"heads.{number}.{name}"] = "head"
            yield owners

    @property
    def unreachable(self) -> set[str]:
        """Trainable parameters without a path to the read-out, and those of stopped members."""
        dead = super().unreachable
        for name, owner in self.owners.items():
            if owner.rpartition("/")[0] in self.stopped:
                dead.add(name)
        return dead

    def trained(self, name: str) -> Trained:
        """Return what an artifact holds of a member: that of a ``VideoClassifier`` on this trunk."""
        number = self._names.index(name)
        member = self.members[name]
        readers = trainable_state(self.parallel_readers.members[number])
        head = trainable_state(self.heads[number])
        weights = _prefixed("backbone.readers.", readers) | _prefixed("head.", head)
        trained = Trained(
            self.backbone, member.adapters, member.head, self.labels, weights
        )
        return trained._replace(readout=member.readout)

    def forward(self, video: Video | Features) -> list[ViewLogits]:
        """Return the logits of each member."""
        features, views = clip_features(self.backbone, video)
        readers = self.parallel_readers
        of_each = readers.of_each(features)
        logits: list[ViewLogits] = []
        for head, stream, own in zip(
            self.heads, readers.streams, of_each, strict=True
        ):
            # the head's dropout goes on in the stream that its readers have drawn from
            with stream.drawing(own.device):
                logits.append(rearrange(head(own), "(b v) k -> b v k", v=views))
        return logits

    def training_step(self, batch: VideoBatch, batch_idx: int) -> BankLosses:
        losses: list[Tensor] = []
        members = self.members.values()
        for logits, member in zip(self(batch.video), members, strict=True):
            smoothing = member.label_smoothing
            losses.append(
                classification_loss(logits, batch.label, batch.partners, smoothing)
            )
        by_member = torch.stack(losses).detach()
        self._stop(by_member)
        for number, name in enumerate(self.members):
            if name in self.stopped:
                losses[number] = _zero_loss(self._weights_of(number))
        total = torch.stack(losses).sum()
        mean = total.detach() / len(self._going)
        self.log("train/loss", mean, batch_size=len(batch.label), prog_bar=True)
        return BankLosses(loss=total, losses=by_member)

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
        for number, clips in self._evaluated(batch, self.val_metrics):
            loss = cast(MeanLoss, self.val_losses[number])
            loss.update(clips.logits, clips.label, clips.readable)

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of each member that goes on; ``val/top1`` is that of the best one."""
        super().on_validation_epoch_end()
        for number in self._going:
            loss = cast(MeanLoss, self.val_losses[number])
            self.log(f"{self._names[number]}/val/loss", loss)
        best = max(self._log_accuracies(self.val_metrics), default=0.0)
        # equal on all ranks; their mean may be rounded
        self.log("val/top1", best, prog_bar=True, sync_dist=True, reduce_fx="max")

    def test_step(self, batch: VideoBatch, batch_idx: int) -> dict[str, Scores]:
        """Return what each member that goes on says, by its name."""
        found: dict[str, Scores] = {}
        for number, clips in self._evaluated(batch, self.test_metrics):
            found[self._names[number]] = scores_of(clips)
        return found

    def on_test_epoch_end(self) -> None:
        """Log the metrics of each member that goes on."""
        super().on_test_epoch_end()
        self._log_accuracies(self.test_metrics)

    def _log_accuracies(self, metrics: nn.ModuleList) -> list[float]:
        """Log the metrics of each member that goes on, and return its top-1. All ranks must call it."""
        scores: list[float] = []
        self.silent_members = set()
        for number in self._going:
            if is_silent(cast(FiniteShare, self.finite_shares[number])):
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
    ) -> Iterator[tuple[int, EvaluatedClips]]:
        """Yield what each member that goes on makes of a batch, after it was counted."""
        found = self(batch.video)
        for number in self._going:
            name = self._names[number]
            clips = EvaluatedClips.of(batch, found[number])
            for clip in clips.without_numbers:
                self._no_numbers.add(f"{clip} (member {name})")
            scores = cast(MetricCollection, metrics[number])
            scores.update(clips.probabilities, clips.label, clips.readable)
            share = cast(FiniteShare, self.finite_shares[number])
            share.update(clips.finite, clips.readable)
            yield number, clips

    @property
    def _names(self) -> list[str]:
        return list(self.members)

    @property
    def _going(self) -> list[int]:
        """Numbers of the members that have not stopped; the same on all ranks."""
        names = enumerate(self.members)
        return [number for number, name in names if name not in self.stopped]

    def setup(self, stage: str) -> None:
        """Compare a cache of features with the trunk; accumulate gradients as the members ask for, all the same.

        Raises:
            ValueError: members with different global batches, or a gradient norm of the Trainer.
        """
        require_cache_of_trunk(self.backbone, self.trainer)
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
        optimizer, factors = joint_optimizer(
            self.members,
            list(self._owners_by_member()),
            dict(self.named_parameters()),
            Updates.of(self.trainer),
            self.stopped,
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {
                "scheduler": ScheduledRates(optimizer, factors, self.print),
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
        readers = self.parallel_readers.members[number]
        return [*readers.parameters(), *self.heads[number].parameters()]

    def on_train_start(self) -> None:
        """Let dropout of each member draw what a run of its own would draw, or go on where it was saved."""
        rank = self.trainer.global_rank
        ranks = self.trainer.world_size
        saved = self._saved_streams
        self._saved_streams = []
        if saved and len(saved) != ranks:
            rank_zero_warn(
                f"the checkpoint holds the random streams of {len(saved)} rank(s), this run has {ranks}: "
                "dropout will differ from a run without the stop"
            )
        streams = self.parallel_readers.streams
        for number, (stream, member) in enumerate(
            zip(streams, self.members.values(), strict=True)
        ):
            # clips of ranks differ, so their dropout should, as in a run of its own (RandomStates)
            seed = None if member.seed is None else member.seed + rank
            stream.start(self.device, seed)
            if len(saved) == ranks:
                stream.state = [state.cpu() for state in saved[rank][number]]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        own = [stream.state for stream in self.parallel_readers.streams]
        checkpoint["bank"] = {
            "members": list(self.members),
            "stopped": dict(self.stopped),
            "streams": gather_objects(own),
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


def _prefixed(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


def _zero_loss(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Return zero, with a gradient of zeros: ranks wait for a gradient of every parameter."""
    zeros: list[Tensor] = []
    for parameter in parameters:
        # 0 times NaN would be NaN
        zeros.append((parameter.nan_to_num() * 0).sum())
    return torch.stack(zeros).sum()
