"""How far an ID embedding can be trusted: one number in (0, 1] for each face."""

import numpy as np

from adaface.face.types import Floats, Pixels

EYES_PX = (
    40.0  # distance of the eyes from which on more pixels add nothing: the crop of 112 has 35 between them
)
SHARP = 60.0  # variance of the Laplacian of the aligned crop at which sharpness counts half
LEAST = 0.01


def quality(crop: Pixels, landmarks: Floats, score: float) -> float:
    """Resolution x sharpness x detector score, in (0, 1].

    crop: aligned (112, 112, 3). landmarks: (5, 2) in pixels of the original picture. Resolution is the
    distance of the eyes over 40 pixels, at most 1; sharpness v / (v + 60) with v the variance of the crop's
    Laplacian in grey levels.
    """
    import cv2

    eyes = float(np.linalg.norm(landmarks[1] - landmarks[0]))
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    variance = float(cv2.Laplacian(grey, cv2.CV_64F).var())
    value = min(1.0, eyes / EYES_PX) * variance / (variance + SHARP) * score
    return float(np.clip(value, LEAST, 1.0))
