"""What every score is, in words: the definitions that reports print."""

from adaface.evaluation.records import Column

FACES = (
    Column(
        "face_found",
        "Faces found",
        "1 where the detector finds a face, else 0. Of several prompted people: the faces found, at most one "
        "for each, divided by the people.",
    ),
    Column(
        "similarity",
        "Face similarity",
        "How like the photos that score the person's face is: the mean over these photos of the cosine of the "
        "recogniser's vectors. Of several faces, each prompted person has the one that makes the sum largest. "
        "A picture without a face counts as 0.",
        low=-1.0,
        anchored=True,
    ),
    Column(
        "similarity_given",
        "Similarity to the given photos",
        "The same with the photos that the identity was made of. High beside a low similarity: the picture "
        "copies these photos.",
        better="neither",
        low=-1.0,
    ),
    Column(
        "copy_paste",
        "Copy-paste",
        "Similarity of the face to the given photos minus its similarity to the photos that score: what is "
        "copied from the given photos and is not the person's. Only of subjects with other photos, and of "
        "pictures with a face. A face that shows the person and nothing of a single photo has about 0.",
        better="lower",
        low=-2.0,
        high=2.0,
    ),
    Column(
        "margin",
        "Identity margin",
        "Similarity to the person's own photos, minus the mean similarity to the photos of the run's other "
        "subjects: what is left when the method's usual face is taken off. A method that draws everybody "
        "alike has 0; a picture without a face counts as 0.",
        low=-2.0,
        high=2.0,
        anchored=True,
        chance=0.0,
    ),
    Column(
        "percentile",
        "Percentile among strangers",
        "How many of the stack's strangers, in per cent, the face is less like than the person. A face of "
        "nobody in particular has about 50; a picture without a face counts as 0.",
        high=100.0,
        anchored=True,
        chance=50.0,
    ),
    Column(
        "assignment",
        "Everybody has their own face",
        "Of pictures of several people: the share of the prompted people who have a face of their own, more "
        "like them than like the other prompted people, in the one-to-one matching with the largest sum. Two "
        "faces of nobody in particular have 0.75, because the better of two matchings is taken.",
        chance=0.75,
    ),
)


def second_columns(name: str, likeness: str) -> tuple[Column, Column]:
    """What a second recogniser tells, under its own name. likeness: what it compares by, in words."""
    return (
        Column(
            f"similarity_{name}",
            f"Face similarity by {name}",
            f"As the face similarity, by another recogniser, {name}: the mean over the photos that score of "
            f"{likeness}. A picture without a face counts as 0.",
            low=-2.0,
            anchored=True,
        ),
        Column(
            f"margin_{name}",
            f"Identity margin by {name}",
            f"As the identity margin, with the similarity by {name}.",
            low=-2.0,
            high=2.0,
            anchored=True,
            chance=0.0,
        ),
    )
