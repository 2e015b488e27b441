"""All data sets. Importing this module makes every class of data, sampling and transform usable by name in YAML."""

from data_modules import paper_sampling as paper_sampling
from data_modules.sets.caption_list import CaptionList
from data_modules.sets.diving48 import Diving48
from data_modules.sets.folder import VideoFolder
from data_modules.sets.hmdb51 import HMDB51
from data_modules.sets.kinetics import Kinetics
from data_modules.sets.motion_captions import MotionCaptions
from data_modules.sets.motion_clips import MotionClips
from data_modules.sets.msr_vtt import MSRVTT
from data_modules.sets.msvd import MSVD
from data_modules.sets.something_something import SomethingSomething
from data_modules.sets.something_something_v1 import SomethingSomethingV1
from data_modules.sets.ucf101 import UCF101
from data_modules.sets.vatex import VATEX
from data_modules.sets.video_files import VideoFiles
from data_modules.sets.video_list import VideoList
from data_modules.transforms import augment as augment
from data_modules.transforms import rand_augment as rand_augment

__all__ = [
    "HMDB51",
    "MSRVTT",
    "MSVD",
    "UCF101",
    "VATEX",
    "CaptionList",
    "Diving48",
    "Kinetics",
    "MotionCaptions",
    "MotionClips",
    "SomethingSomething",
    "SomethingSomethingV1",
    "VideoFiles",
    "VideoFolder",
    "VideoList",
]
