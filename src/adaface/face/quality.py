"""How far an ID embedding can be trusted: one number in (0, 1] for each face.

It is made to be the weight of a photo in a mean. On 60 LFW photos made smaller or blurred, SFace's embedding
keeps the cosine s with that of the original; against the spread of different photos of one person (mean
cosine 0.66) that is worth 0.52 / (0.52 + 1 / s^2 - 1) of a good photo. Measured -> given here (before the
detector's score): eyes 5 px apart 0.21 -> 0.17, 9 px 0.53 -> 0.52, 15 px 0.83 -> 0.82; blurred by 4 % of the
face 0.28 -> 0.29, by 3 % 0.47 -> 0.45, by 1.5 % 0.84 -> 0.91.
"""

import numpy as np

from adaface.face.types import Floats, Pixels

EYES_PX = 9.0  # distance of the eyes in pixels of the picture at which the weight is one half
SHARP = 11.0  # variance of the Laplacian of the aligned crop, in grey levels, at which it is one half
LEAST = 0.01


def quality(crop: Pixels, landmarks: Floats, score: float) -> float:
    """The lesser of resolution and sharpness, times the detector's score: good photos have about 0.9.

    crop: aligned (112, 112, 3). landmarks: (5, 2) in pixels of the original picture. score: in (0, 1].
    """
    import cv2

    eyes = float(np.linalg.norm(landmarks[1] - landmarks[0]))
    variance = float(cv2.Laplacian(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())
    resolution = eyes**3 / (eyes**3 + EYES_PX**3)
    sharpness = variance**2 / (variance**2 + SHARP**2)
    return float(np.clip(min(resolution, sharpness) * score, LEAST, 1.0))
