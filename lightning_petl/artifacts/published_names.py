"""Name classes in what is published: configurations, run folders and adapter artifacts.

Files move between releases. So a class of ours is published under its short name, and a
user's own class under its dotted path. Dotted names of ours that earlier releases have
published are found in :data:`MOVED`.
"""

from collections.abc import Mapping
from typing import Any, cast

_PACKAGES = ("lightning_petl", "data_modules")


def short_name(class_path: str) -> str:
    """Return the name under which a class is published.

    >>> short_name("lightning_petl.adapters.lora.LoRA")
    'LoRA'
    >>> short_name("my_package.GateAdapter")
    'my_package.GateAdapter'
    """
    package = class_path.partition(".")[0]
    if package in _PACKAGES:
        return class_path.rpartition(".")[2]
    return class_path


def current_name(text: str) -> str:
    """Return the name of now for a name of an earlier release, and any other text as it is.

    >>> current_name("lightning_petl.tasks.bank.Bank")
    'Bank'
    >>> current_name("ColourJitter")
    'ColorJitter'
    """
    return MOVED.get(text) or RENAMED.get(text, text)


def current_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a class of ours with the names of now.

    >>> current_options("Side4Video", {"width": 320, "lean": True})
    {'width': 320, 'save_memory': True}
    """
    moved = MOVED_OPTIONS.get(name, {})
    return {moved.get(key, key): value for key, value in options.items()}


def with_current_options(value: Any) -> Any:
    """Return a configuration in which the options of each class have the names of now."""
    if isinstance(value, list):
        return [with_current_options(item) for item in cast(list[Any], value)]
    if not isinstance(value, dict):
        return value
    items = cast(dict[Any, Any], value).items()
    found = {key: with_current_options(item) for key, item in items}
    options = found.get("init_args")
    if isinstance(options, dict):
        name = current_name(str(found.get("class_path")))
        found["init_args"] = current_options(name, cast(dict[str, Any], options))
    return found


# Entries of these two tables stay as long as files of that release may be read.
MOVED_OPTIONS: dict[str, dict[str, str]] = {
    "AttentiveProbe": {"lean": "save_memory"},
    "MAdapter": {"lean": "save_memory"},
    "Side4Video": {"lean": "save_memory"},
}

# An entry is never removed. A class that is renamed changes the values alone.
MOVED = {
    "lightning_petl.tasks.bank.Bank": "Bank",
    "lightning_petl.tasks.classification.VideoClassifier": "VideoClassifier",
    "lightning_petl.tasks.retrieval.VideoTextRetrieval": "VideoTextRetrieval",
    "lightning_petl.tasks.task.Task": "Task",
    "data_modules.sets.caption_list.CaptionList": "CaptionList",
    "data_modules.sets.diving48.Diving48": "Diving48",
    "data_modules.sets.folder.VideoFolder": "VideoFolder",
    "data_modules.sets.hmdb51.HMDB51": "HMDB51",
    "data_modules.sets.kinetics.Kinetics": "Kinetics",
    "data_modules.sets.motion_captions.MotionCaptions": "MotionCaptions",
    "data_modules.sets.motion_clips.MotionClips": "EasyMotion",
    "data_modules.sets.msr_vtt.MSRVTT": "MSRVTT",
    "data_modules.sets.msvd.MSVD": "MSVD",
    "data_modules.sets.something_something.SomethingSomething": "SomethingSomething",
    "data_modules.sets.something_something_v1.SomethingSomethingV1": "SomethingSomethingV1",
    "data_modules.sets.ucf101.UCF101": "UCF101",
    "data_modules.sets.vatex.VATEX": "VATEX",
    "data_modules.sets.video_files.VideoFiles": "VideoFiles",
    "data_modules.sets.video_list.VideoList": "VideoList",
    "lightning_petl.adapters.AIM": "AIM",
    "lightning_petl.adapters.AdaptFormer": "AdaptFormer",
    "lightning_petl.adapters.AttentiveProbe": "AttentiveProbe",
    "lightning_petl.adapters.BitFit": "BitFit",
    "lightning_petl.adapters.FullFineTuning": "FullFineTuning",
    "lightning_petl.adapters.LNTuning": "LNTuning",
    "lightning_petl.adapters.LinearProbe": "LinearProbe",
    "lightning_petl.adapters.LoRA": "LoRA",
    "lightning_petl.adapters.LvAdapter": "LvAdapter",
    "lightning_petl.adapters.MAdapter": "MAdapter",
    "lightning_petl.adapters.MultiTuneV": "MultiTuneV",
    "lightning_petl.adapters.Partial": "Partial",
    "lightning_petl.adapters.STAdapter": "STAdapter",
    "lightning_petl.adapters.Side4Video": "Side4Video",
    "lightning_petl.adapters.VPT": "VPT",
    "lightning_petl.adapters.adapt_former.AdaptFormer": "AdaptFormer",
    "lightning_petl.adapters.aim.AIM": "AIM",
    "lightning_petl.adapters.attentive_probe.AttentiveProbe": "AttentiveProbe",
    "lightning_petl.adapters.bitfit.BitFit": "BitFit",
    "lightning_petl.adapters.full_fine_tuning.FullFineTuning": "FullFineTuning",
    "lightning_petl.adapters.linear_probe.LinearProbe": "LinearProbe",
    "lightning_petl.adapters.ln_tuning.LNTuning": "LNTuning",
    "lightning_petl.adapters.lora.LoRA": "LoRA",
    "lightning_petl.adapters.lv_adapter.LvAdapter": "LvAdapter",
    "lightning_petl.adapters.m_adapter.MAdapter": "MAdapter",
    "lightning_petl.adapters.multi_tunev.MultiTuneV": "MultiTuneV",
    "lightning_petl.adapters.partial.Partial": "Partial",
    "lightning_petl.adapters.side4video.Side4Video": "Side4Video",
    "lightning_petl.adapters.st_adapter.STAdapter": "STAdapter",
    "lightning_petl.adapters.vpt.VPT": "VPT",
    "lightning_petl.heads.LinearHead": "LinearHead",
    "lightning_petl.text_head.TextHead": "TextHead",
    "lightning_petl.similarity.MeanPooling": "MeanPooling",
    "lightning_petl.similarity.WTI": "WTI",
    "data_modules.paper_sampling.AIMKineticsSampling": "AIMKineticsSampling",
    "data_modules.paper_sampling.RoundedSegmentSampling": "RoundedSegmentSampling",
    "data_modules.paper_sampling.Side4VideoKineticsSampling": "Side4VideoKineticsSampling",
    "data_modules.paper_sampling.Side4VideoRetrievalSampling": "Side4VideoRetrievalSampling",
    "data_modules.paper_sampling.Side4VideoSomethingSampling": "Side4VideoSomethingSampling",
    "data_modules.paper_sampling.VideoMAESampling": "VideoMAESampling",
    "data_modules.sampling.DenseSampling": "DenseSampling",
    "data_modules.sampling.FpsSampling": "FpsSampling",
    "data_modules.sampling.SecondsSampling": "SecondsSampling",
    "data_modules.sampling.SegmentSampling": "SegmentSampling",
    "data_modules.transforms.crops.EvalCrop": "EvalCrop",
    "data_modules.transforms.crops.MultiScaleCrop": "MultiScaleCrop",
    "data_modules.transforms.crops.ShortSideJitterCrop": "ShortSideJitterCrop",
    "data_modules.transforms.crops.TrainCrop": "TrainCrop",
    "data_modules.transforms.augment.ColourJitter": "ColorJitter",
    "data_modules.transforms.augment.Grayscale": "Grayscale",
    "data_modules.transforms.augment.RandomErasing": "RandomErasing",
    "data_modules.transforms.rand_augment.RandAugment": "RandAugment",
    "lightning_petl.backbones.text.TextTower": "TextTower",
    "lightning_petl.callbacks.artefact_writer.ArtefactWriter": "ArtifactWriter",
    "lightning_petl.callbacks.bad_files.BadFiles": "BadFiles",
    "lightning_petl.callbacks.best_checkpoint.BestCheckpoint": "BestCheckpoint",
    "lightning_petl.callbacks.compile_blocks.CompileBlocks": "CompileBlocks",
    "lightning_petl.callbacks.ema.EMA": "EMA",
    "lightning_petl.callbacks.epoch_lines.EpochLines": "EpochLines",
    "lightning_petl.callbacks.frozen_guard.FrozenGuard": "FrozenGuard",
    "lightning_petl.callbacks.global_batch.GlobalBatch": "GlobalBatch",
    "lightning_petl.callbacks.gradient_guard.GradientGuard": "GradientGuard",
    "lightning_petl.callbacks.log_interval.LogInterval": "LogInterval",
    "lightning_petl.callbacks.loss_guard.LossGuard": "LossGuard",
    "lightning_petl.callbacks.member_runs.MemberRuns": "MemberRuns",
    "lightning_petl.callbacks.memory_check.MemoryCheck": "MemoryCheck",
    "lightning_petl.callbacks.ownership.Ownership": "Ownership",
    "lightning_petl.callbacks.predictions.TestScores": "TestScores",
    "lightning_petl.callbacks.predictions.TopClassTable": "TopClassTable",
    "lightning_petl.callbacks.preemption.Preemption": "Preemption",
    "lightning_petl.callbacks.random_state.RandomStates": "RandomStates",
    "lightning_petl.callbacks.ranks.Ranks": "Ranks",
    "lightning_petl.callbacks.retrieval_scores.RetrievalScores": "RetrievalScores",
    "lightning_petl.callbacks.throughput.Throughput": "Throughput",
    "lightning_petl.backbones.VideoViT": "VideoViT",
    "lightning_petl.backbones.vit.VideoViT": "VideoViT",
    "lightning_petl.strategies.Replicated": "TrainableDDP",
    "lightning_petl.strategies.Sharded": "FSDP2",
}

# Short names that users wrote for classes of ours which have others now.
RENAMED = {"ColourJitter": "ColorJitter", "MotionClips": "EasyMotion"}
