"""Turn a batch of an evaluation into the videos of a gallery."""

from collections.abc import Iterator, Sequence
from itertools import count, islice

from data_modules.batch import VideoBatch
from lightning_petl.heads.similarity import Encoded, Similarity
from lightning_petl.tasks.outputs import NO_NUMBER
from lightning_petl.tasks.retrieval.gallery import GalleryVideo


def captions_of(batch: VideoBatch) -> Sequence[tuple[str, ...]]:
    """Return the captions of each video.

    Raises:
        ValueError: the data set has none.
    """
    if not batch.captions:
        raise ValueError(
            "VideoTextRetrieval needs videos with captions, and these have none: take a data set of captions, such as "
            "CaptionList, or the task VideoClassifier"
        )
    return batch.captions


def gallery_videos(
    batch: VideoBatch, similarity: Similarity, videos: Encoded, texts: Encoded
) -> list[GalleryVideo]:
    """Return the videos of a batch and their captions, in main memory, without padding.

    Args:
        batch: of an evaluation.
        similarity: what has encoded them.
        videos: a row a video.
        texts: a row a caption, all captions of the first video first.
    """
    videos = _in_main_memory(videos)
    sentences = _sentences(similarity, _in_main_memory(texts))
    faults = batch.fault or [""] * len(batch.clip_id)
    found: list[GalleryVideo] = []
    for row, captions in enumerate(captions_of(batch)):
        own = list(islice(sentences, len(captions)))
        if batch.padding and batch.padding[row]:
            continue
        encoded = _copied(tuple(part[row : row + 1] for part in videos))
        fault = faults[row]
        video = GalleryVideo(
            batch.clip_id[row], not fault, encoded, captions, own, fault
        )
        found.append(video if _is_finite(video) else _never_found(video))
    return found


def _sentences(similarity: Similarity, texts: Encoded) -> Iterator[Encoded]:
    for row in count():
        yield _copied(similarity.take_text(texts, row))


def _is_finite(video: GalleryVideo) -> bool:
    """Return whether all that is known of a video and of its captions are numbers."""
    parts = list(video.video)
    for text in video.texts:
        parts.extend(text)
    return all(bool(part.isfinite().all()) for part in parts)


def _never_found(video: GalleryVideo) -> GalleryVideo:
    """Return a video that counts as never found, with zeros where its numbers were none."""
    return video._replace(
        readable=False,
        video=_with_zeros(video.video),
        texts=[_with_zeros(text) for text in video.texts],
        fault=video.fault or NO_NUMBER,
    )


def _with_zeros(encoded: Encoded) -> Encoded:
    return tuple(part.nan_to_num(0, 0, 0) for part in encoded)


def _in_main_memory(encoded: Encoded) -> Encoded:
    return tuple(part.detach().cpu() for part in encoded)


def _copied(encoded: Encoded) -> Encoded:
    # a view would keep the tensors of the whole batch in memory until the epoch ends
    return tuple(part.clone() for part in encoded)
