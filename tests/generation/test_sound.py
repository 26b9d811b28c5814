"""The loudness of sound in three bands, frame by frame, and what reacts to it."""

import numpy as np
import pytest
import scipy.io.wavfile

from dnnlib.errors import InputError
from generation import sound, tracks

RATE, FPS = 44100, 30
TONES = {"bass": 80, "mid": 700, "treble": 5000}  # Hz


def tone(hertz: float, seconds: float, level: float = 0.5) -> np.ndarray:
    t = np.arange(round(RATE * seconds)) / RATE
    return (level * np.sin(2 * np.pi * hertz * t)).astype(np.float32)


def test_each_band_hears_its_own_tone():
    """One second each of a low, a middle and a high tone, one after the other."""
    song = sound.Sound(np.concatenate([tone(hertz, 1) for hertz in TONES.values()]), RATE)
    for i, band in enumerate(TONES):
        level = sound.loudness(song, band, 3 * FPS, FPS)
        assert level.shape == (90,) and level.min() >= 0 and level.max() <= 1 + 1e-9
        inside = np.zeros(90, bool)
        inside[i * 30 + 5 : i * 30 + 25] = True
        outside = ~inside
        outside[max(i * 30 - 5, 0) : i * 30 + 35] = False
        assert level[inside].min() > 0.95
        assert level[outside].max() < 0.1


def test_loudness_follows_the_amplitude():
    """Half as loud, then silence; the video lasts longer than the sound."""
    parts = [tone(700, 1, 0.8), tone(700, 1, 0.4), np.zeros(RATE, np.float32)]
    level = sound.loudness(sound.Sound(np.concatenate(parts), RATE), "mid", 4 * FPS, FPS)
    np.testing.assert_allclose(level[6:24], 1, atol=0.02)
    np.testing.assert_allclose(level[36:54], 0.5, atol=0.02)
    np.testing.assert_allclose(level[66:], 0, atol=0.01)


def test_bands_that_are_missing_are_named():
    song = sound.Sound(tone(80, 1), RATE)
    with pytest.warns(UserWarning, match="the sound has no treble"):
        assert not sound.loudness(song, "treble", FPS, FPS).any()
    with pytest.warns(UserWarning, match="the sound has no bass"):
        silence = sound.Sound(np.zeros(RATE, np.float32), RATE)
        assert not sound.loudness(silence, "bass", FPS, FPS).any()
    with pytest.raises(InputError, match="4000 samples per second hold nothing above 2000 Hz"):
        sound.loudness(sound.Sound(np.zeros(100, np.float32), 4000), "treble", 3, FPS)


@pytest.mark.parametrize("rate", [8000, 22050, 32000])
def test_low_sampling_rates_have_the_bands_that_they_hold(rate):
    noise = sound.Sound(np.random.RandomState(0).randn(rate).astype(np.float32), rate)
    for band in sound.BANDS:
        assert sound.loudness(noise, band, FPS, FPS).mean() > 0.5


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32])
def test_samples_of_every_type_have_the_same_scale(dtype, tmp_path):
    x = np.stack([tone(80, 0.1), np.zeros(4410)], axis=1)  # two channels
    scales = {"u": (127, 128), "i": (np.iinfo(np.int32).max if dtype == np.int32 else 32767, 0)}
    factor, offset = scales.get(np.dtype(dtype).kind, (1, 0))
    scipy.io.wavfile.write(tmp_path / "x.wav", RATE, (x * factor + offset).astype(dtype))
    got = sound.read_wav(tmp_path / "x.wav")
    assert got.rate == RATE and abs(got.duration_sec - 0.1) < 1e-9
    np.testing.assert_allclose(got.samples, x.mean(axis=1), atol=0.01)


def test_files_that_are_no_sound_are_refused(tmp_path):
    path = tmp_path / "x.wav"
    for content in (b"", b"RIFFxxxxWAVE", b"no sound at all"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"x\.wav"):
            sound.read_wav(path)
    scipy.io.wavfile.write(path, RATE, np.zeros(0, np.int16))
    with pytest.raises(InputError, match=r"x\.wav"):
        sound.read_wav(path)
    scipy.io.wavfile.write(path, RATE, np.ones(1000, np.int16))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"prematurely.*; ffmpeg -i .*x\.wav new\.wav may mend it"):
        sound.read_wav(path)
    scipy.io.wavfile.write(path, RATE, np.full(10, np.nan, np.float32))
    with pytest.raises(InputError, match="NaN"):
        sound.read_wav(path)
    with pytest.raises(OSError, match="nowhere"):
        sound.read_wav(tmp_path / "nowhere.wav")


@pytest.mark.parametrize(
    "content", [b"RIFFab", b"RIFFxxxxWAVEfmt ", b"RIFFxxxxWAVEdata\4\0\0\0abcd"]
)
def test_pieces_of_headers_are_refused_in_one_line(content, tmp_path):
    (tmp_path / "x.wav").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.wav cannot be read as a WAV file \(.+\); ") as e:
        sound.read_wav(tmp_path / "x.wav")
    assert "\n" not in str(e.value) and "local variable" not in str(e.value)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_damaged_headers_end_in_one_line_or_in_finite_samples(dtype, tmp_path):
    """Every cut of the header, then random bytes in it."""
    path, rng = tmp_path / "x.wav", np.random.RandomState(0)
    scipy.io.wavfile.write(path, RATE, np.ones([50, 2], dtype))
    whole = path.read_bytes()
    damaged = [whole[:size] for size in range(60)]
    for _ in range(300):
        content = bytearray(whole)
        for position in rng.randint(60, size=rng.randint(1, 4)):
            content[position] = rng.choice([0, 1, 255, rng.randint(256)])
        damaged.append(bytes(content))
    num_refused = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            got = sound.read_wav(path)
        except InputError as error:
            assert "x.wav" in str(error) and "\n" not in str(error)
            num_refused += 1
        else:
            assert got.rate > 0 and got.samples.ndim == 1 and np.isfinite(got.samples).all()
            assert got.samples.dtype == np.float32
    assert num_refused > 100


@pytest.mark.filterwarnings("error")
def test_samples_too_large_for_an_average_are_refused(tmp_path):
    """The sum of the channels has to be finite as well."""
    scipy.io.wavfile.write(tmp_path / "x.wav", RATE, np.full([10, 2], 3e38, np.float32))
    with pytest.raises(InputError, match="NaN or infinite"):
        sound.read_wav(tmp_path / "x.wav")
    scipy.io.wavfile.write(tmp_path / "x.wav", RATE, np.full(10, 1e300))
    with pytest.raises(InputError, match="NaN or infinite"):
        sound.read_wav(tmp_path / "x.wav")


def test_zoom_is_multiplied_and_rotation_added_to():
    level, t = np.array([0, 0.5, 1, 0.5]), np.arange(4) / 4
    zoom = sound.Reaction("bass", "zoom", 1, 1.4).applied(tracks.constant(2), level)
    np.testing.assert_allclose(zoom(t), [2, 2.4, 2.8, 2.4])
    rotate = sound.Reaction("mid", "rotate", -10, 10).applied(tracks.parse("0..8"), level)
    np.testing.assert_allclose(rotate(t), [-10, 2, 14, 6])


def test_reactions_of_unknown_tracks_are_refused():
    with pytest.raises(InputError, match="no track 'size' for bass to change; there are: zoom"):
        song = sound.Sound(tone(80, 1), RATE)
        reactions = [sound.Reaction("bass", "size", 0, 1)]
        sound.react({"zoom": tracks.constant(1)}, reactions, song, 3, FPS)
