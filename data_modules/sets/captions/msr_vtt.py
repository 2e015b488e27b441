"""MSR-VTT (Xu et al., CVPR 2016): 10,000 videos, 20 captions each, in three customary splits."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from data_modules.sample import Split
from data_modules.sets.annotations import annotation
from data_modules.sets.annotations.msr_vtt import Sentences, read_sentences
from data_modules.sets.captions.caption_files import read_csv
from data_modules.sets.captions.caption_text import WrittenCaption
from data_modules.sets.captions.captioned_videos import CaptionedVideos

_TEST = "MSRVTT_JSFUSION_test.csv"
_TRAIN = {"1k-A": "MSRVTT_train.9k.csv", "7k": "MSRVTT_train.7k.csv"}
_COLUMNS = ("key", "vid_key", "sentence")  # of the list of test, beside video_id
_PARTS: dict[Split, str] = {"train": "train", "val": "validate", "test": "test"}


class MSRVTT(CaptionedVideos):
    """``MSRVTT_data.json``, and for all but the full split the lists ``MSRVTT_train.{9k,7k}.csv`` and the test list.

    In place of ``MSRVTT_data.json`` there may be ``videodatainfo_2017.json``, ``MSR_VTT.json`` (which does not tell the
    full split), or the two files of 2016, ``train_val_videodatainfo.json`` and ``test_videodatainfo.json``.

    1k-A trains on 9,000 videos and 7k on 7,010; both are tested on the 1,000 pairs of ``MSRVTT_JSFUSION_test.csv``,
    which have one caption each, and validated on them too. full is the official split, the field ``split`` of each
    video: 6,513, 497 and 2,990 videos with all captions. Videos are ``<video_id>.mp4``.

    Args:
        root: the folder of the annotation files.
        split_name: 1k-A (Yu et al., ECCV 2018), 7k (Miech et al., arXiv 1906.03327) or full.
        kwargs: those of :class:`~data_modules.sets.captions.captioned_videos.CaptionedVideos`.
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

    def listed(self, split: Split) -> tuple[Path, Sequence[str]]:
        """As the class says."""
        if self.split_name == "full":
            path = self._sentences.path
            names = [
                video for video, part in self._sentences.splits if part == _PARTS[split]
            ]
            if not names:
                raise ValueError(
                    f"{path}: lists no video of the {_PARTS[split]} split; is it "
                    "the file of all splits?"
                )
            return path, names
        path = annotation.find(
            self.root, _TRAIN[self.split_name] if split == "train" else _TEST
        )
        return path, [
            name.strip() for _, (name,) in read_csv(path, "video_id", others=_COLUMNS)
        ]

    def captions(
        self, split: Split
    ) -> tuple[Path, Mapping[str, Sequence[WrittenCaption]]]:
        """The sentences of the JSON file, or those of the test list."""
        if split != "train" and self.split_name != "full":
            path = annotation.find(self.root, _TEST)
            rows = read_csv(path, "video_id", "sentence", others=_COLUMNS)
            return path, {
                name.strip(): [WrittenCaption(sentence, line)]
                for line, (name, sentence) in rows
            }
        found = defaultdict[str, list[WrittenCaption]](list)
        for video, caption in self._sentences.captions:
            found[video].append(WrittenCaption(caption))
        return self._sentences.path, found

    @cached_property
    def _sentences(self) -> Sentences:
        """Read once for all splits."""
        return read_sentences(self.root)
