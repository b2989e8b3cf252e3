"""From where are people drawn who do not exist? The figure behind `random_ids` of `distill_identity`.

python benchmarks/random_ids.py --data FACES [--people 48] [--stack mini]

FACES is a folder of `adaface prepare`. The stack's ID teacher draws people of each distribution: unit vectors
of the whole sphere, the Gaussian fitted to the data's ID embeddings, to the stack's strangers, to both, and
real people. Told of each: how far the IDs point the same way (mean cosine of two), and how near the nearest
real one is; how much the teacher's word on noise changes when it is told of another of them (mean square, at
two noise levels); pictures with a face; likeness of the drawn face to the ID that was asked for, minus its
likeness to the IDs of the others. The best distribution is the one whose figures are those of real people.
Ends with one JSON line.
"""

import argparse
import json
import time
from datetime import date

import numpy as np
import torch
from torch import Tensor

from adaface import Personalizer
from adaface.data.dataset import FaceDataset
from adaface.evaluation.face_similarity import strangers_of
from adaface.evaluation.run.synthetic import Teacher
from adaface.identity.strangers import IdDistribution

LEVELS = (600, 900)  # timesteps
SELF = 0.999  # cosine from which on two embeddings are one


def people_of(data: FaceDataset, known: Tensor | None, count: int) -> dict[str, Tensor]:
    """ID embeddings (count, D_id) by the name of where they come from."""
    rows = torch.from_numpy(np.array(data.id_embeddings[:: -(-len(data) // 20_000)]))
    made = {"sphere": IdDistribution.sphere(data.id_width), "data": IdDistribution.fitted(rows)}
    if known is not None:
        made["strangers"] = IdDistribution.fitted(known)
    noise = torch.randn(count, data.id_width, generator=torch.Generator().manual_seed(0))
    ids = {name: distribution(noise) for name, distribution in made.items()}
    numbers = np.linspace(0, len(data.people) - 1, min(count, len(data.people))).astype(int)
    first = [int(data.rows_of(int(number))[0]) for number in numbers]
    people = IdDistribution.fitted(torch.cat([rows, known])) if known is not None else None
    ids |= {"both": people(noise)} if people else {}
    return {**ids, "real": torch.from_numpy(np.array(data.id_embeddings[first]))}


@torch.no_grad()
def changes(teacher: Teacher, ids: Tensor) -> dict[str, float]:
    """Mean squares between what is said of the same noise of one ID embedding (N, D_id) and of the next."""
    unet, prompter = teacher.pipe.unet, teacher.personalizer.id_prompter
    context = prompter.context(ids, teacher.length)
    shape = (1, unet.config.in_channels, unet.config.sample_size, unet.config.sample_size)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).expand(len(ids), -1, -1, -1)
    said = {level: unet(noise, level, context).sample for level in LEVELS}
    return {f"change_{at}": round(float((s - s.roll(1, 0)).square().mean()), 4) for at, s in said.items()}


def alike(ids: Tensor, rows: Tensor) -> dict[str, float]:
    """How far ID embeddings (N, D_id) point the same way, and how near the nearest real one (M, D_id) is."""
    pairs = ids @ ids.T
    same = (pairs.sum() - pairs.trace()) / (len(ids) * (len(ids) - 1))
    cosines = ids @ rows.T
    nearest = cosines.masked_fill(cosines > SELF, -1.0).max(-1).values.mean()  # not the photo itself
    return {"cosine_of_two": round(float(same), 3), "cosine_to_nearest": round(float(nearest), 3)}


def figures(teacher: Teacher, ids: Tensor) -> dict[str, float]:
    """What the teacher makes of ID embeddings (N, D_id)."""
    found, own, others = 0, [], []
    for number, vector in enumerate(ids):
        (picture,) = teacher(vector, [number])
        faces = teacher.personalizer.analyzer.faces(picture)
        if not faces:
            continue
        found += 1
        cosines = (ids @ torch.as_tensor(faces[0].id_embedding)).tolist()
        own.append(cosines[number])
        others.append((sum(cosines) - cosines[number]) / (len(ids) - 1))
    margin = np.array(own) - np.array(others)
    return {
        "faces": round(found / len(ids), 3),
        "margin": round(float(margin.mean()), 3),
        "margin_error": round(float(margin.std() / len(margin) ** 0.5), 3),
    }


def main() -> None:
    """Draw, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--stack", default="mini")
    parser.add_argument("--people", type=int, default=48)
    parser.add_argument("--no-draw", dest="draw", action="store_false", help="the changes alone: seconds")
    given = parser.parse_args()
    torch.set_num_threads(1)
    personalizer = Personalizer.from_pretrained(given.stack, device="cpu")
    data, teacher = FaceDataset(given.data), Teacher(personalizer)
    known = strangers_of(personalizer.stack, data.id_width)
    started, report = time.perf_counter(), {}
    every = torch.from_numpy(np.array(data.id_embeddings))
    rows = None if known is None else torch.from_numpy(np.array(known, dtype=np.float32))
    for name, ids in people_of(data, rows, given.people).items():
        report[name] = {
            **alike(ids, every),
            **changes(teacher, ids),
            **(figures(teacher, ids) if given.draw else {}),
        }
        print(name, report[name], flush=True)
    seconds = round(time.perf_counter() - started, 1)
    about = {"samples": len(data), "people": len(data.people), "stack": given.stack}
    print(json.dumps({"date": str(date.today()), **about, "drawn": report, "seconds": seconds}))


if __name__ == "__main__":
    main()
