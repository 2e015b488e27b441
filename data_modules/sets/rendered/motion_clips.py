"""The motion data set as data: drawn where it is not there yet."""

from typing import Any

from data_modules.sets.rendered.motion import render
from data_modules.sets.rendered.motion_scene import MOTIONS
from data_modules.sets.video.something_something import SomethingSomething, plain


class MotionClips(SomethingSomething):
    """Six motions in three opposite pairs, see :mod:`data_modules.sets.rendered.motion`. Test is the validation list.

    Args:
        root: the folder of the data set; rendered before training or evaluation unless it is complete.
        num_train: clips of training.
        num_test: clips of validation and test.
        render_seed: of what is drawn.
        kwargs: those of :class:`~data_modules.loading.data_module.VideoDataModule`.
    """

    CLASSES = 6

    def __init__(
        self,
        root: str,
        *,
        num_train: int = 480,
        num_test: int = 240,
        render_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        self.num_train, self.num_test, self.render_seed = (
            num_train,
            num_test,
            render_seed,
        )
        super().__init__(root, videos="videos", **kwargs)

    def prepare_data(self) -> None:
        """Render what is not there, in one process a machine; ValueError where another data set is in the folder."""
        render(self.root, self.num_train, self.num_test, self.render_seed)

    def _labels(self) -> list[str]:
        return [plain(motion.template) for motion in MOTIONS]
