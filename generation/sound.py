"""Sound that drives tracks: the loudness of three bands, frame by frame."""

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.io.wavfile
import scipy.ndimage
import scipy.signal

from dnnlib.errors import InputError
from generation.tracks import Curve

BANDS = {"bass": (20, 250), "mid": (250, 2000), "treble": (2000, 16000)}  # Hz
FILTER_ORDER = 4
MIN_WINDOW_SEC = 0.05  # one period of the lowest bass
SMOOTHING_SEC = 0.04  # standard deviation
LOUD_PERCENTILE = 95  # the loudness that counts as 1
SILENCE = 10 ** (-50 / 20)  # relative to the loudest moment of the whole sound
# How a reaction changes a track. Directions are added to as well.
MULTIPLIED, ADDED = ("trunc", "zoom"), ("rotate",)


@dataclass(frozen=True)
class Sound:
    """A sound.

    Attributes:
        samples: One channel, float32 `[N]` in [-1, 1].
        rate: Samples per second.
    """

    samples: np.ndarray
    rate: int

    @property
    def duration_sec(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.rate


@dataclass(frozen=True)
class Reaction:
    """What the loudness of a band does to a track.

    Attributes:
        band: One of `BANDS`.
        track: Name of the track: `zoom`, `trunc` (multiplied), `rotate`, or the name of a direction
            (added to).
        low: The factor, or the number to add, in silence.
        high: The same at the loudest.
    """

    band: str
    track: str
    low: float
    high: float

    def applied(self, curve: Curve, loudness: np.ndarray) -> Curve:
        """The curve with the reaction to a loudness `[num_frames]`, see `loudness`."""
        times = np.arange(len(loudness)) / len(loudness)

        def reacting(t: np.ndarray) -> np.ndarray:
            change = np.interp(t, times, self.low + (self.high - self.low) * loudness)
            return curve(t) * change if self.track in MULTIPLIED else curve(t) + change

        return reacting


def read_wav(path: str | os.PathLike) -> Sound:
    """Read a WAV file; channels are averaged.

    Raises:
        OSError: If the file cannot be read.
        InputError: If it is no WAV file, or has no sound.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", scipy.io.wavfile.WavFileWarning)  # the file ends early
            warnings.filterwarnings("ignore", "Chunk", scipy.io.wavfile.WavFileWarning)  # no sound
            rate, samples = scipy.io.wavfile.read(path)
    except OSError:
        raise
    except Exception as error:  # damaged bytes can make the reader raise anything
        is_told = isinstance(error, (ValueError, scipy.io.wavfile.WavFileWarning)) and str(error)
        raise InputError(
            f"{path} cannot be read as a WAV file ({error if is_told else 'it is damaged'}); "
            f"ffmpeg -i {path} new.wav may mend it"
        ) from error
    if samples.size == 0 or rate <= 0:
        raise InputError(f"{path} has no sound")
    x = _one_channel(samples)
    if not np.isfinite(x).all():
        raise InputError(f"{path} has samples that are NaN or infinite")
    return Sound(x, int(rate))


def loudness(sound: Sound, band: str, num_frames: int, fps: float) -> np.ndarray:
    """How loud a band is at each frame, `[num_frames]` from 0 to 1.

    The band is cut out by a Butterworth filter, forwards and backwards, so that nothing is delayed.
    Loudness is the root mean square around the middle of the frame, over one frame or 0.05 s,
    whichever is longer. The 95th percentile of the frames with sound becomes 1, and what is louder
    is 1 as well. Silence, also after the end of the sound, is 0: what is 50 dB below the loudest
    moment of the whole sound. A Gaussian of 0.04 s smooths it.

    Args:
        sound: The sound, which starts with the video.
        band: One of `BANDS`.
        num_frames: Frames of the video.
        fps: Frames per second.

    Raises:
        InputError: If the sampling rate is too low for the band.
    """
    middles_sec = (np.arange(num_frames) + 0.5) / fps
    window_sec = max(1 / fps, MIN_WINDOW_SEC)
    level = _rms(_cut_out(sound, band), sound.rate, middles_sec, window_sec)
    floor = SILENCE * _rms(sound.samples, sound.rate, middles_sec, window_sec).max()
    loud = level[level > floor]
    if len(loud) == 0:
        warnings.warn(f"the sound has no {band}, so nothing reacts to it", stacklevel=2)
        return np.zeros(num_frames)
    relative = (level / np.percentile(loud, LOUD_PERCENTILE)).clip(max=1)
    relative[level <= floor] = 0
    return scipy.ndimage.gaussian_filter1d(relative, SMOOTHING_SEC * fps, mode="nearest")


def react(
    curves: Mapping[str, Curve],
    reactions: Sequence[Reaction],
    sound: Sound,
    num_frames: int,
    fps: float,
) -> dict[str, Curve]:
    """Curves by the names of their tracks, with the reactions to a sound.

    Raises:
        InputError: If a reaction names no curve, or the sound does not suit its band.
    """
    found = dict(curves)
    for reaction in reactions:
        if reaction.track not in found:
            raise InputError(
                f"there is no track {reaction.track!r} for {reaction.band} to change; there are: "
                f"{', '.join(found)}"
            )
        level = loudness(sound, reaction.band, num_frames, fps)
        found[reaction.track] = reaction.applied(found[reaction.track], level)
    return found


def _one_channel(samples: np.ndarray) -> np.ndarray:
    """Average the channels of samples as scipy reads them, `[N]` or `[N, C]`: float32 `[N]`."""
    with np.errstate(over="ignore"):  # what is too large becomes infinite
        x: np.ndarray = samples.astype(np.float32)
        if samples.dtype.kind == "u":
            x = (x - 128) / 128  # WAV: only 8 bits are unsigned
        elif samples.dtype.kind == "i":
            x /= -float(np.iinfo(samples.dtype).min)
        return x if x.ndim == 1 else x.mean(axis=1)


def _cut_out(sound: Sound, band: str) -> np.ndarray:
    """The part of a sound in a band, `[N]`."""
    low, high = BANDS[band]
    nyquist = sound.rate / 2
    if nyquist <= low:
        raise InputError(
            f"{sound.rate} samples per second hold nothing above {nyquist:g} Hz; {band} goes from "
            f"{low} to {high} Hz"
        )
    # Near the Nyquist frequency, the upper edge is that of the sound itself.
    edges, kind = ((low, high), "bandpass") if high < 0.95 * nyquist else (low, "highpass")
    sections = scipy.signal.butter(FILTER_ORDER, edges, kind, output="sos", fs=sound.rate)
    padding = min(sound.rate // low, len(sound.samples) - 1)
    # Beyond its ends the sound is mirrored: the default, a point reflection, adds a low rumble.
    return scipy.signal.sosfiltfilt(sections, sound.samples, padtype="even", padlen=padding)


def _rms(x: np.ndarray, rate: int, middles_sec: np.ndarray, window_sec: float) -> np.ndarray:
    """Root mean square of the samples in a window around each time; 0 where there are none."""
    energy = np.concatenate([[0], np.cumsum(np.square(x, dtype=np.float64))])
    first, last = (
        np.rint((middles_sec + side * window_sec / 2) * rate).astype(np.int64).clip(0, len(x))
        for side in (-1, 1)
    )
    return np.sqrt((energy[last] - energy[first]).clip(min=0) / (last - first).clip(min=1))
