"""Options of a sync dataset, one class per stage; changing one redoes its stage and those that use its results."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from avssl.avsync.options_people import Crops, Faces, Speech, check


@dataclass(frozen=True)
class Accept:
    """Accepted sources.

    Attributes:
        length_tolerance: seconds by which sound and picture may differ in length.
        delay_tolerance: where a container can't say how much the encoder delayed the sound, seconds that this may be
            at most, by the usual encoders of its codec; viewers notice sound that is 0.045 s early (ITU-R BT.1359).
        unsignalled: accept such sources however much it may be.
        delay: seconds by which the sound of such sources is known to be late, as measured once for a corpus; it is
            moved earlier by as much.
        broken: of sources that stop decoding before their end, accept the part that decodes.
        copies: accept sources that show and sound what an earlier one does, encoded in another way.
        excerpts: accept sources of which half or more is part of an earlier one, encoded in another way; looked for
            only if this is false.
        smallest: least pixels of the shorter side of a source's pictures.
        bitrate: least thousands of bits per second of a source, sound included.
    """

    length_tolerance: float = 1.0
    unsignalled: bool = False
    broken: bool = False
    delay_tolerance: float = 0.05
    delay: float = 0.0
    copies: bool = False
    excerpts: bool = True
    smallest: int = 0
    bitrate: float = 0.0

    def __post_init__(self) -> None:
        good = self.length_tolerance >= 0 and self.delay_tolerance >= 0 and abs(self.delay) <= 1
        check(good, self, "length_tolerance >= 0, delay_tolerance >= 0 and delay within a second")
        check(self.smallest >= 0 and self.bitrate >= 0, self, "smallest >= 0 and bitrate >= 0")


@dataclass(frozen=True)
class Normal:
    """Format of normalised recordings, from which clips are cut.

    Attributes:
        short_side: pixels of the shorter side; smaller pictures are not enlarged.
        fps: constant frame rate; "source" keeps each source's own, so that no event is shown earlier or later.
        gop: largest number of frames from one keyframe to the next; clips begin at keyframes.
        crf: x264's quality; lower is better and larger.
        preset: x264's trade-off between time and size.
        audio_rate: sampling rate of the sound, which is mono.
    """

    short_side: int = 256
    fps: float | Literal["source"] = 25.0
    gop: int = 10
    crf: float = 20.0
    preset: str = "veryfast"
    audio_rate: int = 16000

    def __post_init__(self) -> None:
        rate = self.fps == "source" or (not isinstance(self.fps, str) and self.fps > 0)
        good = self.short_side >= 16 and self.gop >= 1 and rate and self.audio_rate > 0
        check(good, self, "short_side >= 16, gop >= 1, fps > 0 and audio_rate > 0")


@dataclass(frozen=True)
class Shots:
    """Detection of shots.

    Attributes:
        threshold: threshold of PySceneDetect's ContentDetector: mean change of hue, saturation and value (0 to 255)
            between frames that makes a cut; 0 takes each recording for one shot.
        min_seconds: least time between two cuts; closer ones are merged.
    """

    threshold: float = 27.0
    min_seconds: float = 0.6

    def __post_init__(self) -> None:
        check(self.threshold >= 0 and self.min_seconds > 0, self, "threshold >= 0 and min_seconds > 0")


@dataclass(frozen=True)
class Cut:
    """Length of clips, and which of them are kept.

    Attributes:
        seconds: length of a clip.
        stride: seconds from the start of one clip to that of the next; None for ``seconds``: no overlap.
        min_seconds: least length of the remainder of a shot that becomes a clip, too; None drops remainders.
        still: drop clips in which more than this share of the frames equals the previous one, in each of 64 blocks.
        quiet: drop clips whose sound never exceeds this many decibels of full scale.
        codec: lossless codec of a clip's sound: "flac", or "alac", which every version of FFmpeg puts into mp4.
    """

    seconds: float = 5.0
    stride: float | None = None
    min_seconds: float | None = None
    still: float = 0.8
    quiet: float = -50.0
    codec: Literal["flac", "alac"] = "flac"

    def __post_init__(self) -> None:
        shortest = self.seconds if self.min_seconds is None else self.min_seconds
        good = 0 < shortest <= self.seconds and (self.stride is None or self.stride > 0)
        check(good, self, "0 < min_seconds <= seconds and stride > 0")


@dataclass(frozen=True)
class Sync:
    """Estimation of the sound's offset, and its use. An offset is positive if the sound is late.

    Attributes:
        mode: ``"score"`` records offset and confidence and keeps all clips; ``"drop"`` drops clips that are out of
            sync or uncertain; ``"realign"`` moves the sound of sources that are out of sync beyond doubt, by what
            their clips agree on, and leaves all others as they are.
        run: folder of the trained run that estimates; None correlates onsets of sound with onsets of motion.
        max_offset: largest offset, either way, in seconds.
        tolerance: seconds of offset that count as in sync.
        min_confidence: least confidence of a trusted estimate, on the estimator's own scale, without a calibration;
            None is 6 for the correlation, and for a run it must be given.
        calibration: file that says how probable an offset of some confidence is, of ``avssl build --calibrate``.
        certainty: least probability, by the calibration, that a trusted offset is within 40 ms of the truth.
        seen: what a run is shown: the ``"picture"``, or each tracked face by itself (``"track"``, as ``crops`` says);
            None is what it learnt from.
    """

    mode: Literal["score", "drop", "realign"] = "score"
    run: Path | None = None
    max_offset: float = 0.6
    tolerance: float = 0.04
    min_confidence: float | None = None
    calibration: Path | None = None
    certainty: float = 0.95
    seen: Literal["picture", "track"] | None = None

    def __post_init__(self) -> None:
        check(0 <= self.tolerance < self.max_offset, self, "0 <= tolerance < max_offset")
        check(0 < self.certainty < 1, self, "0 < certainty < 1")
        check(self.run is not None or self.seen != "track", self, "a run to show tracks to: --sync.run=RUN")
        measured = self.calibration is not None
        wanted = "a calibration to realign by: `avssl build RECORDINGS_IN_SYNC -o FOLDER --calibrate` measures one"
        check(measured or self.mode != "realign", self, wanted)
        known = measured or self.mode == "score" or self.run is None or self.min_confidence is not None
        check(known, self, "calibration, or min_confidence, if a run is to drop; see the card of mode=score first")


@dataclass(frozen=True)
class Split:
    """Splits of the sources, and the test set of fixed offsets.

    Attributes:
        validation: share of the groups of sources.
        test: share of the groups of sources.
        crop: length, in seconds, of the stretches of sound and picture that the fixed-offset test compares.
        step: seconds from one offset to the next.
        max_offset: largest offset in seconds.
    """

    validation: float = 0.1
    test: float = 0.1
    crop: float = 2.0
    step: float = 0.2
    max_offset: float = 2.0

    def __post_init__(self) -> None:
        shares = self.validation >= 0 and self.test >= 0 and self.validation + self.test <= 1
        good = shares and 0 < self.step <= self.max_offset and self.crop > 0
        check(good, self, "shares of at most 1 together, 0 < step <= max_offset and crop > 0")


@dataclass(frozen=True)
class Pack:
    """Form of the dataset.

    Attributes:
        form: ``"files"``; ``"webdataset"`` for tar shards as well; ``"huggingface"`` for a folder that ``load_dataset``
            of HF datasets opens; ``"lmdb"`` for a database per split.
        sound: format of the sound in a shard or database, ``"flac"`` or ``"wav"``.
        clips_per_shard: number of clips per shard.
    """

    form: Literal["files", "webdataset", "huggingface", "lmdb"] = "files"
    sound: Literal["flac", "wav"] = "flac"
    clips_per_shard: int = 1000

    def __post_init__(self) -> None:
        check(self.clips_per_shard >= 1, self, "clips_per_shard >= 1")


@dataclass(frozen=True)
class Options:
    """All options of a sync dataset."""

    accept: Accept = field(default_factory=Accept)
    normal: Normal = field(default_factory=Normal)
    shots: Shots = field(default_factory=Shots)
    cut: Cut = field(default_factory=Cut)
    speech: Speech = field(default_factory=Speech)
    faces: Faces = field(default_factory=Faces)
    crops: Crops = field(default_factory=Crops)
    sync: Sync = field(default_factory=Sync)
    split: Split = field(default_factory=Split)
    pack: Pack = field(default_factory=Pack)

    def __post_init__(self) -> None:
        needs = self.crops.part is not None or self.sync.seen == "track"
        check(self.faces.model is not None or not needs, self.crops, "faces to follow: --faces.model=PATH")
