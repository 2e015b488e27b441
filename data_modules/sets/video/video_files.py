"""Videos without annotation, for prediction."""

from data_modules.loading.data_module import VideoDataModule
from data_modules.sample import Clip, Split


class VideoFiles(VideoDataModule):
    """Read the videos under ``predict_path`` and nothing else.

    The protocol is that of a trained artifact.
    """

    def clips(self, split: Split) -> list[Clip]:
        """Refuse, as there is no annotation.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            f"{type(self).__name__} has no {split} split: it only serves predict"
        )
