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
        "How like the photos that score the person's face is: the mean over these photos of the cosine of "
        "the recogniser's vectors. Of several faces, each prompted person has the one that makes the sum "
        "largest. "
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
        "How many of the stack's strangers, in per cent, the face is less like than the person. A real "
        "face of nobody in particular has about 50. Pictures of one source are alike, though, so that "
        "drawn faces may have far more with drawn photos: look at the figure of other people's photos, "
        "too. A picture without a face counts as 0.",
        high=100.0,
        anchored=True,
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

CLIP = (
    Column(
        "clip_t",
        "Text match (CLIP-T)",
        "Cosine of the CLIP features of the picture and of its prompt with class words for names ('a "
        "woman' for <alice>): what is asked for is there, whoever is drawn. Compare it between runs with "
        "the same CLIP model only.",
        low=-1.0,
    ),
    Column(
        "clip_i",
        "Picture match (CLIP-I)",
        "Mean over the photos that score of the cosine of CLIP features, picture with photo. It sees "
        "clothes, background and style as well, so that a copy of a photo scores higher than the person "
        "elsewhere.",
        low=-1.0,
        anchored=True,
    ),
    Column(
        "diversity",
        "Diversity over seeds",
        "1 minus the mean cosine of the CLIP features of all pairs of a prompt's seeds. Of whole pictures, "
        "not of faces: a face that changes from seed to seed is a lack of likeness, which is scored "
        "above. Read it beside the text match, since noise is diverse as well.",
        high=2.0,
    ),
)
RETRIEVAL = (
    Column(
        "retrieval",
        "Own prompt first",
        "1 where the picture's own class prompt has a higher CLIP cosine than all other prompts of the "
        "run. A method that does not listen to words has 1 / number of prompts.",
    ),
    Column(
        "retrieval_shuffled",
        "Own prompt first, shuffled control",
        "The same with another prompt of the run, fixed for each picture, passed off as its own. It should "
        "be at or below 1 / number of prompts; a higher figure would say that the score likes some "
        "prompts whatever is drawn.",
        better="neither",
    ),
)
DINO = Column(
    "dino",
    "Picture match (DINO)",
    "Mean over the photos that score of the cosine of DINO's class tokens, picture with photo. As CLIP-I, "
    "but it tells subjects of one class apart better.",
    low=-1.0,
    anchored=True,
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
