"""Read published and own data sets, one file each, as ``torchvision.datasets`` does for images."""

from data_modules.sets.captions.caption_list import CaptionList
from data_modules.sets.captions.msr_vtt import MSRVTT
from data_modules.sets.captions.msvd import MSVD
from data_modules.sets.captions.vatex import VATEX
from data_modules.sets.rendered.motion_captions import MotionCaptions
from data_modules.sets.rendered.motion_clips import EasyMotion, TorusMotion
from data_modules.sets.video.diving48 import Diving48
from data_modules.sets.video.hmdb51 import HMDB51
from data_modules.sets.video.kinetics import Kinetics
from data_modules.sets.video.something_something import SomethingSomething
from data_modules.sets.video.something_something_v1 import SomethingSomethingV1
from data_modules.sets.video.ucf101 import UCF101
from data_modules.sets.video.video_files import VideoFiles
from data_modules.sets.video.video_folder import VideoFolder
from data_modules.sets.video.video_list import VideoList

__all__ = [
    "HMDB51",
    "MSRVTT",
    "MSVD",
    "UCF101",
    "VATEX",
    "CaptionList",
    "Diving48",
    "EasyMotion",
    "Kinetics",
    "MotionCaptions",
    "SomethingSomething",
    "SomethingSomethingV1",
    "TorusMotion",
    "VideoFiles",
    "VideoFolder",
    "VideoList",
]
