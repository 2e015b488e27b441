"""The motion data sets as data modules: drawn where they are not there yet."""

from typing import Any, ClassVar

from typing_extensions import override

from data_modules.sets.rendered.motion import CLASSES, SceneKind, render
from data_modules.sets.video.something_something import SomethingSomething, plain


class TorusMotion(SomethingSomething):
    """Read six motions in three opposite pairs, of which a single frame says nothing.

    See :mod:`data_modules.sets.rendered.torus_scene`. Test is the validation list.

    Args:
        root: the folder of the data set; rendered before training or evaluation unless
            it is complete.
        num_train: clips of training.
        num_test: clips of validation and test.
        render_seed: of what is drawn.
        kwargs: those of :class:`~data_modules.loading.data_module.VideoDataModule`.
    """

    CLASSES = 6

    scenes: ClassVar[SceneKind] = "torus"

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
        render(
            self.root, self.num_train, self.num_test, self.render_seed, self.scenes
        )

    @override
    def _labels(self) -> list[str]:
        # before anything is rendered, there is no labels file to read
        return [plain(motion.template) for motion in CLASSES[self.scenes]]


class EasyMotion(TorusMotion):
    """Read six motions that begin at the side which the class names.

    This is the set of the first releases, where it is called ``MotionClips``: runs of
    then find their clips here. The first frame tells a class from its opposite, so
    that it does not show who sees motion.
    """

    scenes = "easy"
