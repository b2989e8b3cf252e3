"""What can go wrong, as one tree; every message says what happened, where, and what to do.

AdaFaceError
├── ConfigError           a setting or option is out of range, unknown, or contradicts another
│   └── WrongRecognizerError  a face recogniser that is not the encoder's
├── ShapeError            a tensor of the wrong shape
├── ImageError            a picture that cannot be read
├── FaceError
│   ├── NoFaceError       no face in a picture
│   ├── SeveralFacesError more than one face where one was asked for; carries the boxes
│   ├── FaceTooSmallError a face below the smallest useful size
│   ├── DifferentPeopleError  photos that should show one person show several; carries the groups
│   └── NothingKeptError  photos to prepare of which none is fit for a data set
├── PromptError           a prompt that names an unknown subject, or is too long
├── FormatError           a file or folder that is not what it should be
│   ├── DamagedFileError  no weights in it: empty, cut off, a git-lfs pointer, a web page, misnamed
│   ├── WrongModelError   whole, but of another kind or family than what was asked for
│   ├── UnsafeFileError   a pickled file that names or does what no checkpoint needs; nothing of it was run
│   ├── StackError        a stack whose manifest, parts or hashes do not fit
│   └── DatasetError      a prepared data set that is cut off, changed, or not of one piece
├── MissingFileError      a file or folder that is not there
├── NonFiniteError        a training whose loss or gradients are no numbers any more; names its report
├── HubError              the hub cannot be asked, or has not (or sent not) what was asked for
├── LicenceError          weights that may not be used as was asked
├── WorkerError           a process that did a part of the work died
├── WriteError            a result that could not be written; nothing half-written stays
└── MissingExtra          an optional package; names the command that installs it
"""

from collections.abc import Sequence


class AdaFaceError(Exception):
    """Base of all errors that a user can cause and mend."""


class ConfigError(AdaFaceError):
    """A setting or option is out of range, unknown, or contradicts another."""


class WrongRecognizerError(ConfigError):
    """ID embeddings of a face recogniser that is not the one the encoder was trained with."""


class ShapeError(AdaFaceError):
    """A tensor of the wrong shape."""


class ImageError(AdaFaceError):
    """A picture that cannot be read."""


class FaceError(AdaFaceError):
    """A picture was read, but not the face in it."""


class NoFaceError(FaceError):
    """No face in a picture."""


class SeveralFacesError(FaceError):
    """More than one face where exactly one was asked for."""

    def __init__(self, message: str, boxes: Sequence[tuple[float, float, float, float]] = ()) -> None:
        """boxes: x0, y0, x1, y1 in pixels of the upright picture, largest face first."""
        super().__init__(message)
        self.boxes = tuple(boxes)


class FaceTooSmallError(FaceError):
    """A face below the smallest useful size."""


class DifferentPeopleError(FaceError):
    """Photos that should show one person show several, and nothing says who is meant."""

    def __init__(self, message: str, groups: Sequence[Sequence[str]] = ()) -> None:
        """groups: names of the photos that agree with each other, the largest group first."""
        super().__init__(message)
        self.groups = tuple(tuple(group) for group in groups)


class NothingKeptError(FaceError):
    """Of all photos that were prepared, none is fit for a data set."""


class PromptError(AdaFaceError):
    """A prompt that names an unknown subject, or has no room for its words."""


class FormatError(AdaFaceError):
    """A file or folder that is not what it should be."""


class DamagedFileError(FormatError):
    """A file with no weights in it: empty, cut off, a git-lfs pointer, a web page, another format's name."""


class WrongModelError(FormatError):
    """A whole file or folder, but of another kind or family of model than what was asked for."""


class UnsafeFileError(FormatError):
    """A pickled file names or does what no checkpoint needs; nothing of it was run."""


class StackError(FormatError):
    """A stack whose manifest, parts or hashes do not fit together."""


class DatasetError(FormatError):
    """A prepared data set that is cut off, changed since it was written, or not of one piece."""


class MissingFileError(AdaFaceError):
    """A file or folder that is not there."""


class NonFiniteError(AdaFaceError):
    """A training's loss or gradients are no numbers any more; the message names the report of the step."""


class HubError(AdaFaceError):
    """The hub cannot be asked, or has not what was asked for, or sent something else."""


class LicenceError(AdaFaceError):
    """Weights whose licence does not allow the use that was asked for."""


class WorkerError(AdaFaceError):
    """A process that did a part of the work died; what was finished stays."""


class WriteError(AdaFaceError):
    """A result could not be written; nothing half-written stays."""


class MissingExtra(AdaFaceError):
    """An optional package is not installed; the message names the command that installs it."""
