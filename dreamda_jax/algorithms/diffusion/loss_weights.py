"""How much each noise level counts in a training loss: plain numpy, one weight per timestep.

All are written as weights of the ε-MSE first. A network that predicts v makes the same error in x_0
with an ε-MSE of ᾱ times its v-MSE, so its weights are those times ᾱ: both kinds of network are
trained on one objective.
"""

from typing import Literal, get_args

import numpy as np

Weighting = Literal["p2", "min_snr", "none"]


def signal_to_noise(alphas_cumprod: np.ndarray) -> np.ndarray:
    """SNR_t = ᾱ_t / (1 − ᾱ_t), float64."""
    alpha = np.asarray(alphas_cumprod, np.float64)
    return alpha / (1 - alpha)


def p2_weights(snr: np.ndarray, *, gamma: float, k: float) -> np.ndarray:
    """1 / (k + SNR)^γ (Choi et al., "Perception Prioritized Training", arXiv 2204.00227).

    Little noise, where only imperceptible detail is learnt, counts little. γ = 0 is the ε-MSE.

    Args:
      snr: of every timestep.
      gamma: 1, or 0.5; the paper's γ.
      k: 1; keeps the weight finite where there is only noise.
    """
    return 1 / (k + snr) ** gamma


def min_snr_weights(snr: np.ndarray, *, gamma: float) -> np.ndarray:
    """min(SNR, γ) / SNR (Hang et al., arXiv 2303.09556, for ε-prediction); γ = 5 there."""
    return np.minimum(snr, gamma) / snr


def loss_weights(
    alphas_cumprod: np.ndarray,
    prediction_type: str,
    weighting: Weighting,
    *,
    p2_gamma: float = 1.0,
    p2_k: float = 1.0,
    min_snr_gamma: float = 5.0,
) -> np.ndarray:
    """The weight of a row's mean squared error at each timestep.

    Args:
      alphas_cumprod: ᾱ_t, [T].
      prediction_type: "epsilon" or "v_prediction", what the squared error is of.
      weighting: "none" is 1 everywhere, for either kind of network, as in diffusers.
      p2_gamma: γ of "p2".
      p2_k: k of "p2".
      min_snr_gamma: γ of "min_snr".

    Returns:
      float32 [T].

    Raises:
      ValueError: an unknown weighting or prediction type.
    """
    if weighting not in get_args(Weighting):
        raise ValueError(
            f"weighting must be one of {', '.join(get_args(Weighting))}, got {weighting!r}"
        )
    if prediction_type not in ("epsilon", "v_prediction"):
        raise ValueError(f"unknown prediction_type {prediction_type!r}")
    snr = signal_to_noise(alphas_cumprod)
    if weighting == "none":
        return np.ones(len(snr), np.float32)
    if weighting == "p2":
        weights = p2_weights(snr, gamma=p2_gamma, k=p2_k)
    else:
        weights = min_snr_weights(snr, gamma=min_snr_gamma)
    if prediction_type == "v_prediction":
        weights = weights * np.asarray(alphas_cumprod, np.float64)
    return weights.astype(np.float32)
