"""MSR-VTT (Xu et al., CVPR 2016): 10,000 videos, 20 captions each, in three splits."""

from collections import defaultdict
from functools import cached_property
from typing import Any, Literal

from data_modules.sample import Split
from data_modules.sets.annotations import annotation
from data_modules.sets.annotations.msr_vtt import Sentences, read_sentences
from data_modules.sets.captions.caption_files import (
    CaptionFile,
    VideoNames,
    read_csv,
)
from data_modules.sets.captions.caption_text import WrittenCaption
from data_modules.sets.captions.captioned_videos import CaptionedVideos

_TEST = "MSRVTT_JSFUSION_test.csv"
_TRAIN = {"1k-A": "MSRVTT_train.9k.csv", "7k": "MSRVTT_train.7k.csv"}
_COLUMNS = ("key", "vid_key", "sentence")  # of the list of test, beside video_id
_PARTS: dict[Split, str] = {"train": "train", "val": "validate", "test": "test"}


class MSRVTT(CaptionedVideos):
    """Read ``MSRVTT_data.json``, and the lists of videos of all but the full split.

    These are ``MSRVTT_train.{9k,7k}.csv`` and ``MSRVTT_JSFUSION_test.csv``. In place of
    ``MSRVTT_data.json`` there may be ``videodatainfo_2017.json``, ``MSR_VTT.json``
    (which does not tell the full split), or the two files of 2016,
    ``train_val_videodatainfo.json`` and ``test_videodatainfo.json``.

    1k-A trains on 9,000 videos and 7k on 7,010; both are tested on the 1,000 pairs of
    ``MSRVTT_JSFUSION_test.csv``, which have one caption each, and validated on them
    too. full is the official split, the field ``split`` of each video: 6,513, 497 and
    2,990 videos with all captions. Videos are ``<video_id>.mp4``.

    Args:
        root: the folder of the annotation files.
        split_name: 1k-A (Yu et al., ECCV 2018), 7k (Miech et al., arXiv 1906.03327) or
            full.
        kwargs: those of
            :class:`~data_modules.sets.captions.captioned_videos.CaptionedVideos`.
    """

    def __init__(
        self,
        root: str,
        *,
        split_name: Literal["1k-A", "7k", "full"] = "1k-A",
        **kwargs: Any,
    ) -> None:
        super().__init__(root, **kwargs)
        self.split_name = split_name

    def listed(self, split: Split) -> VideoNames:
        """Return the videos of a split as the class says."""
        if self.split_name == "full":
            return self._official(split)
        file = _TRAIN[self.split_name] if split == "train" else _TEST
        path = annotation.find(self.root, file)
        rows = read_csv(path, "video_id", others=_COLUMNS)
        return VideoNames(path, [name.strip() for _, (name,) in rows])

    def _official(self, split: Split) -> VideoNames:
        """Return the videos of the full split; ValueError where there are none."""
        part = _PARTS[split]
        path, splits, _ = self._sentences
        names = [video for video, found in splits if found == part]
        if not names:
            raise ValueError(
                f"{path}: lists no video of the {part} split; is it the file of all "
                "splits?"
            )
        return VideoNames(path, names)

    def captions(self, split: Split) -> CaptionFile:
        """Return the sentences of the JSON file, or those of the test list."""
        captions = defaultdict[str, list[WrittenCaption]](list)
        if split == "train" or self.split_name == "full":
            path = self._sentences.path
            for video, caption in self._sentences.captions:
                captions[video].append(WrittenCaption(caption))
        else:
            path = annotation.find(self.root, _TEST)
            rows = read_csv(path, "video_id", "sentence", others=_COLUMNS)
            for line, (name, sentence) in rows:
                captions[name.strip()] = [WrittenCaption(sentence, line)]
        # a defaultdict would answer for every video
        return CaptionFile(path, dict(captions))

    @cached_property
    def _sentences(self) -> Sentences:
        """Return the sentences of the JSON files, read once for all splits."""
        return read_sentences(self.root)
