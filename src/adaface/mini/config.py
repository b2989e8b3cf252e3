"""What a build of the mini stack does, as presets: `cpu` (hours), `gpu` (half an hour), `smoke` (seconds)."""

from dataclasses import dataclass, field

from adaface.errors import ConfigError
from adaface.mini.models import MiniConfig
from adaface.mini.recipes.base import BaseConfig
from adaface.mini.recipes.clip import ClipConfig
from adaface.mini.recipes.encoder import EncoderConfig
from adaface.mini.recipes.vae import VaeConfig
from adaface.training.settings import LoopConfig, OptimizerConfig

# most of the likeness comes from what is drawn from noise
LIKENESS = BaseConfig(batch=14, identity_weight=0.2, identity_pictures=2, drawn_weight=1.2)


@dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """Sizes, and for each step what it does and how long."""

    sizes: MiniConfig = field(default_factory=MiniConfig)
    segmenter: LoopConfig
    vae: LoopConfig
    base: LoopConfig
    identity: LoopConfig  # the base goes on with the identity loss
    clip: LoopConfig  # of each of the two
    words: LoopConfig  # the encoder's warm start at the look words
    encoder: LoopConfig
    vae_step: VaeConfig = field(default_factory=VaeConfig)
    base_step: BaseConfig = field(default_factory=lambda: BaseConfig(batch=24))
    identity_step: BaseConfig = field(default_factory=lambda: LIKENESS)
    clip_step: ClipConfig = field(default_factory=ClipConfig)
    encoder_step: EncoderConfig = field(
        default_factory=lambda: EncoderConfig(
            batch=16, identity_weight=0.3, identity_pictures=2, drawn_weight=1.0
        )
    )
    rounds: tuple[int, int, int] = (2, 4, 1)  # cached latents of each crop: plain, composed; of each close-up
    seed: int = 0


def minutes(count: float, rate: float, *, weight_decay: float = 0.01, ema_decay: float = 0.999) -> LoopConfig:
    """A loop of so many minutes that begins at this learning rate."""
    return LoopConfig(
        seconds=count * 60,
        optimizer=OptimizerConfig(learning_rate=rate, weight_decay=weight_decay),
        ema_decay=ema_decay,
        save_steps=0,
        save_seconds=120,
        keep_last=1,
        keep_best=0,
    )


def _steps(count: int, rate: float) -> LoopConfig:
    optimizer = OptimizerConfig(learning_rate=rate)
    return LoopConfig(
        steps=count, optimizer=optimizer, precision="fp32", log_steps=1, keep_last=1, keep_best=0
    )


PRESETS = {
    "cpu": BuildConfig(
        segmenter=minutes(12, 2e-3),
        vae=minutes(60, 6e-4, weight_decay=0.0),
        base=minutes(90, 5e-4),
        identity=minutes(60, 2e-4),
        clip=minutes(20, 5e-4),
        words=minutes(2, 1e-3),
        encoder=minutes(30, 3e-4),
    ),
    "gpu": BuildConfig(
        segmenter=minutes(0.5, 2e-3),  # all loops: 22 minutes; then there is decoding and caching
        vae=minutes(3, 6e-4, weight_decay=0.0),
        base=minutes(7, 6e-4, ema_decay=0.9995),
        identity=minutes(5, 2e-4, ema_decay=0.9995),
        clip=minutes(1.5, 5e-4),
        words=minutes(0.5, 1e-3),
        encoder=minutes(3, 3e-4),
        vae_step=VaeConfig(plain=96, composed=96, close=32),
        base_step=BaseConfig(batch=1024),
        identity_step=BaseConfig(
            batch=384, identity_weight=0.2, identity_pictures=48, drawn_weight=1.2, drawn_pictures=160
        ),
        clip_step=ClipConfig(batch=512),
        encoder_step=EncoderConfig(
            batch=192, identity_weight=0.3, identity_pictures=24, drawn_weight=1.0, drawn_pictures=96
        ),
        rounds=(4, 10, 2),
    ),
    "smoke": BuildConfig(
        sizes=MiniConfig(
            text_width=128,  # holds SFace's 128 numbers, so that a real face can be drawn
            text_layers=3,
            text_heads=2,
            unet_widths=(32, 32),
            unet_heads=2,
            vae_widths=(8, 8, 8, 16),
            latent_channels=4,
            clip_width=32,
            clip_layers=1,
        ),
        segmenter=_steps(2, 1e-3),
        vae=_steps(2, 1e-3),
        base=_steps(2, 1e-3),
        identity=_steps(1, 1e-3),
        clip=_steps(2, 1e-3),
        words=_steps(2, 1e-3),
        encoder=_steps(2, 1e-3),
        vae_step=VaeConfig(plain=2, composed=2, close=2),
        base_step=BaseConfig(batch=4),
        identity_step=BaseConfig(
            batch=4,
            identity_weight=0.3,
            identity_pictures=2,
            identity_times=(0.0, 1.0),
            context_dropout=0.0,
            drawn_weight=1.0,
            drawn_pictures=2,
        ),
        clip_step=ClipConfig(batch=4),
        encoder_step=EncoderConfig(
            batch=2, identity_weight=0.2, identity_pictures=1, drawn_weight=1.0, drawn_pictures=2
        ),
        rounds=(1, 1, 1),
    ),
}


def preset(name: str) -> BuildConfig:
    """One of the presets. Raises ConfigError: none of that name."""
    if name not in PRESETS:
        raise ConfigError(f"preset {name!r}: there are {', '.join(PRESETS)}")
    return PRESETS[name]
