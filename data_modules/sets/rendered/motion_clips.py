"""The motion data set as a data module: drawn where it is not there yet."""

from typing import Any

from typing_extensions import override

from data_modules.sets.rendered.motion import render
from data_modules.sets.rendered.motion_scene import MOTIONS
from data_modules.sets.video.something_something import SomethingSomething, plain


class MotionClips(SomethingSomething):
    """Read six motions in three opposite pairs.

    See :mod:`data_modules.sets.rendered.motion`. Test is the validation list.

    Args:
        root: the folder of the data set; rendered before training or evaluation unless
            it is complete.
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
        self.num_train = num_train
        self.num_test = num_test
        self.render_seed = render_seed
        super().__init__(root, videos="videos", **kwargs)

    def prepare_data(self) -> None:
        """Render what is not there; Lightning calls it in one process a machine.

        Raises:
            ValueError: another data set is in the folder.
        """
        render(self.root, self.num_train, self.num_test, self.render_seed)

    @override
    def _labels(self) -> list[str]:
        # before anything is rendered, there is no labels file to read
        return [plain(motion.template) for motion in MOTIONS]
