"""What a config says of training a classifier: its length, its recipe, and how training clips are changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from avssl.data.crops import ShortSideCrop
from avssl.data.randaugment import RandAugment
from avssl.data.transforms import Augment
from avssl.encoders.initial import RANDOM, check_initial
from avssl.evaluation.settings import LATER
from avssl.recipe.lengths import check_length
from avssl.recipe.recipe import Recipe
from avssl.recipe.schedules import Schedule, Timetable
from avssl.runtime.checks import check_ranges

COLOURS = (0.4, 0.4, 0.4, 0.1)  # brightness, contrast, saturation and hue of `Augmentation.jitter`


@dataclass(frozen=True)
class Tuning:
    """The details of training a classifier; the defaults are those of a plain `Budget`.

    Args:
        optimizer: of torch, or `avssl.training.LARS`.
        momentum: of SGD and LARS.
        nesterov: whether SGD and LARS use Nesterov's momentum.
        betas: of AdamW and Adam.
        schedule: of the learning rate after the warm-up: along half a cosine or linearly down to ``lr_end``, in steps
            at ``lr_steps``, or constant.
        lr_start: learning rate from which the warm-up rises.
        lr_end: learning rate at the end.
        lr_steps: for ``schedule: step``, lengths from the start after which the learning rate is multiplied by
            ``lr_factor``: shares of the training, ``14 epochs``, ``9000 steps``.
        lr_factor: see ``lr_steps``.
        layer_decay: learning rate of a block of the encoder relative to the block above it (BEiT: Bao et al., ICLR
            2022); the classifier has the full rate.
        decay_vectors: whether weight decay holds for norms, biases, tokens and position embeddings too.
        clip: largest norm of the gradient.
        average: momentum of an exponential average of the weights, which is then the classifier.
        drop_path: probability of skipping the encoder's last block in training, rising linearly from 0 in the first
            (Huang et al., ECCV 2016); None leaves the encoder's own.
        dropout: probability of dropping a feature before the linear layer.
        head_std: standard deviation of the linear layer's initial weights, whose biases then begin at 0; None is
            torch's initialisation.
        unit: scale the features to unit length before the linear layer (CVRL).
        smoothing: share of the target that is spread evenly over the classes; with several classes per video, over
            whether a class is shown or not.
        mixup: parameter of the beta distribution by which two clips and their targets are mixed (Zhang et al., ICLR
            2018); 0 for none.
        cutmix: the same for a box of one clip put into another (Yun et al., ICCV 2019). With both, each step draws one.
        switch: probability of cutmix, with both.
        mix: probability that a step's clips are mixed.
        repeats: samples of each clip that is read, changed differently (Hoffer et al., CVPR 2020); ``batch_size``
            counts the clips that are read.
    """

    optimizer: Literal["AdamW", "Adam", "SGD", "LARS"] = "AdamW"
    momentum: float = 0.9
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Schedule = "cosine"
    lr_start: float = 0.0
    lr_end: float = 0.0
    lr_steps: tuple[float | str, ...] = ()
    lr_factor: float = 0.1
    layer_decay: float | None = None
    decay_vectors: bool = True
    clip: float | None = None
    average: float | None = None
    drop_path: float | None = None
    dropout: float = 0.0
    head_std: float | None = None
    unit: bool = False
    smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    switch: float = 0.5
    mix: float = 1.0
    repeats: int = 1

    def __post_init__(self) -> None:
        shares = dict.fromkeys(("switch", "mix"), "[0, 1]")
        below = dict.fromkeys(("momentum", "betas", "drop_path", "dropout", "smoothing"), "[0, 1)")
        sizes = dict.fromkeys(("mixup", "cutmix"), "[0, inf)") | dict.fromkeys(("clip", "head_std"), "(0, inf)")
        check_ranges("recipe", self, **shares, **below, **sizes, repeats="[1, inf)")
        self.shared()  # checks the others

    def shared(self) -> Recipe:
        """Return the part that pretraining has too."""
        names = ("lr_start", "lr_end", "lr_steps", "lr_factor", "layer_decay", "decay_vectors", "average")
        return Recipe(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class Augmentation:
    """How training clips are changed, which then begin anywhere in a video: as `avssl.data.transforms.Augment` does.

    Args:
        size: height and width of a training clip in pixels; None is ``views.size``.
        scale: smallest and largest fraction of the frame's area that a crop covers.
        ratio: smallest and largest aspect ratio of a crop (width over height).
        sides: instead, crops of ``size`` from frames whose shorter side has between these two lengths (Simonyan &
            Zisserman, ICLR 2015).
        short_side: shorter side in pixels to which frames are scaled while they are decoded, at most their own; None is
            8/7 of ``size``, or the larger of ``sides``.
        rand_augment: magnitude of RandAugment, from 0 to 10; None for none.
        operations: number of its operations.
        jitter: probability of colour jitter.
        strength: its largest changes of brightness, contrast, saturation and hue.
        grey: probability of greyscale.
        blur: probability of Gaussian blur.
        erase: probability that a box is filled with noise.
    """

    size: int | None = None
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    sides: tuple[int, int] | None = None
    short_side: int | None = None
    rand_augment: float | None = None
    operations: int = 4
    jitter: float = 0.0
    strength: tuple[float, float, float, float] = COLOURS
    grey: float = 0.0
    blur: float = 0.0
    erase: float = 0.0

    def __post_init__(self) -> None:
        self.transform(size=1 if self.sides is None else self.sides[0], flip=0.0, square=False)  # checks the values

    def transform(self, size: int, flip: float, square: bool) -> Augment:
        """Return the transform for ``views.size``; ``square`` squashes frames before they are cropped."""
        size = self.size or size
        made = Augment(
            size,
            self.scale,
            self.ratio,
            flip,
            self.jitter,
            self.strength,
            self.grey,
            self.blur,
            square,
            rand_augment=None if self.rand_augment is None else RandAugment(self.operations, self.rand_augment),
            erase=self.erase,
            short_side=self.short_side if self.sides is None else self.short_side or max(self.sides),
        )
        if self.sides is not None:
            made.crop = ShortSideCrop(size, self.sides)
        return made


@dataclass(frozen=True)
class Budget:
    """Training schedule of a classifier: AdamW, linear warm-up, cosine decay to zero, unless ``recipe`` says otherwise.

    Args:
        steps: optimiser steps, whatever the number of labels.
        batch_size: clips per step, over all processes.
        lr: peak learning rate.
        weight_decay: weight decay of the optimiser.
        warmup: length of the warm-up: share of the training, ``5 epochs`` or ``800 steps``.
        flip: probability of mirroring a training clip. Leave it at 0 if left and right tell any classes apart.
        seeds: runs of every fold, which differ in the head, the order and the augmentation.
        folds: number of folds to run, spread evenly over them; None for all.
        epochs: length in passes over the training videos, instead of ``steps``.
        recipe: optimiser, schedule, regularisation.
        augment: how training clips are changed; None shifts one of ten by up to an eighth of its size.
        initial: where the weights of a network begin that is trained from scratch: random, kmeans, mean_var:RUN or
            first_K:RUN (`avssl.encoders.begin_with`); a pretrained one begins where it is.
    """

    steps: int = 100
    batch_size: int = 16
    lr: float = 1e-3
    weight_decay: float = 0.01
    warmup: float | str = 0.1
    flip: float = 0.0
    seeds: int = 1
    folds: int | None = None
    epochs: float | None = field(default=None, metadata=LATER)
    recipe: Tuning = field(default=Tuning(), metadata=LATER)
    augment: Augmentation | None = field(default=None, metadata=LATER)
    initial: str = field(default=RANDOM, metadata=LATER)

    def __post_init__(self) -> None:
        counts = dict.fromkeys(("steps", "batch_size", "seeds", "folds"), "[1, inf)")
        check_ranges("", self, **counts, lr="(0, inf)", weight_decay="[0, inf)", flip="[0, 1]", epochs="(0, inf)")
        check_length("warmup", self.warmup)
        check_initial(self.initial)

    def timetable(self, videos: int) -> Timetable:
        """Return the schedule of training on a number of videos."""
        per_epoch = videos / self.batch_size
        steps = self.steps if self.epochs is None else max(1, round(self.epochs * per_epoch))
        return Timetable(self.recipe.shared(), self.recipe.schedule, self.warmup, steps, per_epoch)
