"""Why photos are left out: every code, and what it means to people."""

REASONS = {
    "unreadable_file": "The file could not be read from the disk.",
    "unreadable_folder": "The folder could not be opened, so nothing in it was looked at.",
    "empty_file": "The file holds nothing.",
    "not_a_picture": "The file is no picture that can be read here, whatever its name says.",
    "broken_file": "The picture is cut off or broken.",
    "too_large": "The file is too large to be opened safely.",
    "no_person": "The photo lies beside the people's folders, so nothing says who it shows.",
    "no_face": "No face was found.",
    "face_too_small": "The face has too few pixels.",
    "poor_quality": "The face is too blurred, or too coarse, to tell who it is.",
    "cut_off": "Too much of the face's surroundings lies beyond the edge of the photo.",
    "few_face_parts": "The parser found too few parts of a face.",
    "mask_does_not_fit": "The given mask cannot be used with this photo.",
    "failed": "Looking at the photo failed in a way that nobody foresaw.",
    "other_person": "The face is not like the person's other photos.",
    "no_majority": "The person's photos disagree, and nothing says who is meant.",
    "duplicate": "The same file is there already.",
    "near_duplicate": "The same picture is there already, in another size, cut or quality.",
    "other_name": "The same picture stands under another name as well.",
}
