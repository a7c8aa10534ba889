"""Agreement with a teacher: images without labels, of which the network that the run starts from says the class."""

from trimcore.tables.metric import Metric
from trimcore.tasks.classification import Classification


class Agreement(Classification):
    """The class that the network says from which the run starts, its teacher; images need no labels. Trained only by
    distillation. Headline: the share of images on which both agree."""

    name = "agreement"

    @property
    def metric(self) -> Metric:
        return Metric("agreement")
