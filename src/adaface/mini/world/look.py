"""Words that name a look: an ID embedding as 16 words, and class words from it. Shapes: N, D_id, G=16, C=32.

SD-1.5's text can draw individuals, since it has read names and every adjective for a face. The mini base gets
that ability from a product quantisation of the ID embedding: rotate, split in G groups, name the nearest of
each group's C centres.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

GROUPS = 16  # one word for each of the 16 rows that a subject has
CODES = 32
CONSONANTS = "bdfghjklmnprstvz"  # first letter: the group
VOWELS = ("a", "e", "i", "o", "u", "ai", "ou", "ea")  # middle and end: the code
ENDS = ("x", "q", "v", "zz")


def look_words() -> list[str]:
    """The words of all codes, group by group: word of (group, code) stands at group * CODES + code."""
    return [c + v + e for c in CONSONANTS for v in VOWELS for e in ENDS]


@dataclass(frozen=True, kw_only=True)
class LookCodes:
    """A product quantiser. rotation: (D_id, D_id). centres: (G, C, D_id / G)."""

    rotation: Tensor
    centres: Tensor

    def split(self, ids: Tensor) -> Tensor:
        """ID embeddings (N, D_id) -> rotated groups (N, G, D_id / G)."""
        with torch.autocast(ids.device.type, enabled=False):  # codes are nearest neighbours: no rounding
            return (ids @ self.rotation).view(len(ids), GROUPS, -1)

    def distances(self, ids: Tensor) -> Tensor:
        """Squared distances to every centre: (N, G, C)."""
        return (self.split(ids)[:, :, None] - self.centres).square().sum(-1)

    def codes(self, ids: Tensor) -> Tensor:
        """Nearest centres: (N, G) int64."""
        return self.distances(ids).argmin(-1)

    def token_rows(self, width: int, scale: float = 5.0) -> Tensor:
        """First token rows of all look words, (G * C, width): each centre in the places of its group.

        So the rows of a look add up to its ID embedding, rotated and padded with zeros as the ID prompter
        pads one, and neighbouring codes have neighbouring rows. width: at least D_id. scale: makes a centre,
        of length about 1/6, as long as other tokens with their positions are.
        """
        groups, codes, part = self.centres.shape
        rows = self.centres.new_zeros(groups, codes, width)
        for group in range(groups):
            rows[group, :, group * part : (group + 1) * part] = scale * self.centres[group]
        return rows.flatten(0, 1)

    def decode(self, codes: Tensor) -> Tensor:
        """Centres of codes (N, G) as unit ID embeddings (N, D_id)."""
        rows = self.centres[torch.arange(GROUPS), codes]  # (N, G, D_id / G)
        return F.normalize(rows.flatten(1) @ self.rotation.T, dim=-1)


def fit_look_codes(ids: Tensor, generator: Generator, rounds: int = 25) -> LookCodes:
    """Fit the quantiser to ID embeddings (N, D_id), N >= CODES, D_id divisible by GROUPS.

    The rotation is random: it spreads the variance evenly over the groups, so that every word says as much.
    """
    width = ids.shape[-1]
    rotation = torch.linalg.qr(torch.randn(width, width, generator=generator)).Q
    groups = (ids @ rotation).view(len(ids), GROUPS, -1)
    centres = torch.stack([_k_means(groups[:, g], CODES, generator, rounds) for g in range(GROUPS)])
    return LookCodes(rotation=rotation, centres=centres)


def _k_means(points: Tensor, count: int, generator: Generator, rounds: int) -> Tensor:
    centres = points[torch.randperm(len(points), generator=generator)[:count]].clone()
    for _ in range(rounds):
        nearest = torch.cdist(points, centres).argmin(1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        sizes = torch.bincount(nearest, minlength=count)
        centres = torch.where(sizes[:, None] > 0, sums / sizes.clamp_min(1)[:, None], centres)
    return centres


AGE_BOUNDS = (30, 56)  # young below the first, old from the second


class ClassWordNet(nn.Module):
    """ID embedding (N, D_id) -> logits of gender (N, 2) and of age group (N, 3).

    Genders: male, female. Age groups: young, middle, old.
    """

    def __init__(self, id_width: int = 128, width: int = 128) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(id_width, width), nn.GELU(), nn.Dropout(0.3), nn.Linear(width, 5)
        )

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Unit ID embeddings (N, D_id) -> logits (N, 2) and (N, 3)."""
        both = self.trunk(ids * ids.shape[-1] ** 0.5)
        return both[:, :2], both[:, 2:]

    @torch.no_grad()
    def class_words(self, ids: Tensor, sure: float = 0.8) -> Tensor:
        """Indices into world.CLASS_WORDS (N,) for ID embeddings (N, D_id).

        "person" where the net is less than `sure` about gender; no age word where it is less about age.
        """
        gender, age = (logits.softmax(-1).max(-1) for logits in self(ids))
        plain = torch.where(gender.values < sure, 0, 1 + gender.indices)  # person, man, woman
        young, old = age.indices == 0, age.indices == 2
        aged = torch.where(young, 2, torch.where(old, 4, 0))
        return torch.where((plain > 0) & (age.values >= sure), plain + aged, plain)


def age_groups(age: Tensor) -> Tensor:
    """Years (N,) -> 0 young, 1 middle, 2 old."""
    return (age >= AGE_BOUNDS[0]).long() + (age >= AGE_BOUNDS[1]).long()


def fit_class_words(
    ids: Tensor, gender: Tensor, age: Tensor, generator: Generator, steps: int = 1500
) -> tuple[ClassWordNet, dict[str, float]]:
    """Train on labelled ID embeddings, a tenth held out; returns the net and its accuracies on that tenth."""
    order = torch.randperm(len(ids), generator=generator)
    held, train = order[: len(ids) // 10], order[len(ids) // 10 :]
    group, seed = age_groups(age), int(torch.randint(2**31, (), generator=generator))
    with torch.random.fork_rng(devices=[]):  # first weights and dropout know no generator but torch's own
        torch.default_generator.manual_seed(seed)
        net = ClassWordNet(ids.shape[-1])
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-2)
        for _ in range(steps):
            rows = train[torch.randint(len(train), (256,), generator=generator)]
            noisy = F.normalize(ids[rows] + 0.03 * torch.randn(ids[rows].shape, generator=generator), dim=-1)
            by_gender, by_age = net(noisy)
            loss = F.cross_entropy(by_gender, gender[rows]) + F.cross_entropy(by_age, group[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    net.eval()
    with torch.no_grad():
        by_gender, by_age = net(ids[held])
    return net, {
        "gender_accuracy": float((by_gender.argmax(-1) == gender[held]).float().mean()),
        "age_group_accuracy": float((by_age.argmax(-1) == group[held]).float().mean()),
    }
