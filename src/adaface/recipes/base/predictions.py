"""What a diffusion model says of noisy latents, and the same in other words. Shapes: B, C, h, w.

Three kinds: "epsilon" (the noise), "v_prediction" (the velocity), "sample" (the clean latents). With a the
cumulative alpha of a noise level, noisy = sqrt(a) clean + sqrt(1 - a) noise.
"""

from torch import Tensor

KINDS = ("epsilon", "v_prediction", "sample")


def clean_of(kind: str, noisy: Tensor, prediction: Tensor, alphas: Tensor) -> Tensor:
    """The clean latents (B, C, h, w) that a prediction means, in float32. alphas: cumulative, (B,).

    At a noise level without any signal (a = 0) a predicted noise says nothing of them: infinite there.
    """
    noisy, prediction = noisy.float(), prediction.float()
    signal, noise = _shares(alphas)
    if kind == "v_prediction":
        return signal * noisy - noise * prediction
    return (noisy - noise * prediction) / signal if kind == "epsilon" else prediction


def noise_of(kind: str, noisy: Tensor, prediction: Tensor, alphas: Tensor) -> Tensor:
    """The noise (B, C, h, w) that a prediction means, in float32. alphas: cumulative, (B,)."""
    noisy, prediction = noisy.float(), prediction.float()
    signal, noise = _shares(alphas)
    if kind == "v_prediction":
        return noise * noisy + signal * prediction
    return prediction if kind == "epsilon" else (noisy - signal * prediction) / noise


def ddim_step(kind: str, noisy: Tensor, prediction: Tensor, now: Tensor, then: Tensor) -> Tensor:
    """One DDIM step (eta 0) of latents (B, C, h, w), in float32, from the cumulative alphas `now` to `then`.

    now, then: (B,), or one for all, on the latents' device; `then` of 1 gives the clean latents.
    """
    signal, noise = _shares(then)
    return signal * clean_of(kind, noisy, prediction, now) + noise * noise_of(kind, noisy, prediction, now)


def converted(noisy: Tensor, prediction: Tensor, alphas: Tensor, *, given: str, wanted: str) -> Tensor:
    """A prediction (B, C, h, w) of one kind as one of another; the same tensor if they are one.

    alphas: cumulative, (B,). given, wanted: of KINDS.
    """
    if given == wanted:
        return prediction
    if wanted == "sample":
        return clean_of(given, noisy, prediction, alphas)
    if wanted == "epsilon":
        return noise_of(given, noisy, prediction, alphas)
    signal, noise = _shares(alphas)
    if given == "epsilon":  # without the way by the clean latents, which loses digits at high noise
        return (prediction.float() - noise * noisy.float()) / signal
    return (signal * noisy.float() - prediction.float()) / noise


def _shares(alphas: Tensor) -> tuple[Tensor, Tensor]:
    """Of signal and noise, each (B, 1, 1, 1); of one alpha for all, B is 1."""
    alphas = alphas.float().reshape(-1, 1, 1, 1)
    return alphas.sqrt(), (1 - alphas).sqrt()
