"""The original's compositional step, for comparison: four prompts of one person, two candidates, two rounds.

A fresh step predicts two candidates without gradients (subject and class composed, each with guidance,
decoded and scored by CLIP), then all four prompts with gradients, captured at their cross-attentions; the
next step of the same person goes on from its clean latents. Every candidate is taken, though CLIP let pass a
third of them; the terms are ours, of the same sizes. Letters: B, K, T, D, C, h, w, L layers, N places.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from train_steps.original import Original, read_one_context_a_layer
from transformers import CLIPModel

from adaface.data.dataset import FaceDataset
from adaface.losses.elastic import preserved
from adaface.losses.feature_delta import feature_delta, pooled
from adaface.losses.prompt_delta import prompt_delta
from adaface.pipelines.quiet import quiet
from adaface.pipelines.stack import Stack
from adaface.spec import ID_OFFSET
from adaface.training.settings import LoopConfig

CANDIDATES = 2
GUIDANCE = (5.0, 5.0, 6.0, 6.0)  # of the student's two, and the teacher's
COMPOSED, SINGLE = " dancing in a forest, by night", ""
PROMPT, CLASS = "a face portrait of a {}", "a face portrait of a woman" + ", " * 15
CAPTURED = range(4, 16)  # cross-attention layers that have terms: the coarser half, and the way up
SEEN_PX = 224  # CLIP's side
SEEN_MEAN, SEEN_STD = (0.481, 0.458, 0.408), (0.269, 0.261, 0.276)


class OriginalComposition(Original):
    """The same models, with attention that is recorded, and a CLIP that judges."""

    def __init__(self, stack: Stack, dataset: FaceDataset, loop: LoopConfig, device: torch.device) -> None:
        super().__init__(stack, dataset, loop, device)
        self.seen: dict[int, dict[str, Tensor]] = {}
        read_one_context_a_layer(self.unet, self.seen)
        with quiet():
            self.judge = CLIPModel.from_pretrained(stack.path("clip"), local_files_only=True).to(device)
        self.judge.requires_grad_(False).eval()

    def composition(self, rows: Sequence[int]) -> float:
        """A fresh step and the one that reuses it, of the first photo: two updates. The last one's loss."""
        latents, face = self.latents(rows[:1])
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            context = self.prompter.context(self.ids(rows[:1]))
        id_prompt = context[:, ID_OFFSET : ID_OFFSET + self.count]
        timesteps = torch.tensor([900], device=self.device)
        contexts = self.four(id_prompt)
        best = self.best(latents, contexts.detach(), timesteps)
        clean, _ = self.learn(best, contexts, timesteps, face)
        contexts = self.four(id_prompt)
        return self.learn(clean, contexts, timesteps - 300, face)[1]

    def four(self, id_prompt: Tensor) -> Tensor:
        """Contexts (4, L, T, D) of subject single and composed, class single and composed."""
        with sdpa_kernel(SDPBackend.MATH):
            subjects = self.subjects(id_prompt)
        of_subject = [self.contexts(PROMPT + words, subjects, 1) for words in (SINGLE, COMPOSED)]
        with torch.no_grad():
            of_class = [self.contexts(CLASS + words, None, 1) for words in (SINGLE, COMPOSED)]
        return torch.cat([*of_subject, *of_class])

    @torch.no_grad()
    def best(self, clean: Tensor, contexts: Tensor, timesteps: Tensor) -> Tensor:
        """Of the candidates' noisy starts (1, C, h, w), the one whose class picture fits the words best."""
        starts = torch.cat([self.normal(clean) for _ in range(CANDIDATES)])
        shown = starts.repeat_interleave(2, dim=0)  # subject and class composed of each
        noisy = self.noisy(shown, self.normal(shown), timesteps.expand(len(shown)))
        words = contexts[[1, 3]].repeat(CANDIDATES, 1, 1, 1)
        empty = self.contexts("", None, 1).expand_as(words)
        level = timesteps.expand(2 * len(noisy))
        guess = self.unet(torch.cat([noisy, noisy]), level, torch.cat([empty, words])).sample
        without, given = guess.chunk(2)
        scale = torch.tensor(GUIDANCE, device=self.device).view(-1, 1, 1, 1)
        clean = self.clean(noisy, without + scale * (given - without), level[: len(noisy)])
        pictures = self.vae.decode(clean / self.vae.config.scaling_factor).sample
        scores = self.scores(pictures)
        return starts.index_select(0, (scores[1::2] - scores[::2]).argmax(dim=0, keepdim=True))

    def scores(self, pictures: Tensor) -> Tensor:
        """How well pictures (B, 3, S, S) fit the composition's words, by CLIP: (B,)."""
        small = F.interpolate(pictures / 2 + 0.5, (SEEN_PX, SEEN_PX), mode="bicubic", antialias=True)
        mean, std = (torch.tensor(v, device=small.device).view(3, 1, 1) for v in (SEEN_MEAN, SEEN_STD))
        words = self.tokenizer(CLASS + COMPOSED, padding="max_length", truncation=True, return_tensors="pt")
        found = self.judge(input_ids=words["input_ids"].to(self.device), pixel_values=(small - mean) / std)
        return F.cosine_similarity(found.image_embeds, found.text_embeds)

    def learn(self, clean: Tensor, contexts: Tensor, timesteps: Tensor, face: Tensor) -> tuple[Tensor, float]:
        """One update from all four prompts on the same noisy latents; their clean latents (1, C, h, w)."""
        noisy = self.noisy(clean, self.normal(clean), timesteps).expand(4, -1, -1, -1)
        guess = self.unet(noisy, timesteps.expand(4), contexts).sample
        ones = torch.ones(1, contexts.shape[2], device=self.device)
        single, composed, of_class, of_both = (contexts[i : i + 1].mean(1) for i in range(4))
        loss = 2e-5 * prompt_delta(single, composed, of_class, of_both, ones).mean()
        for layer in CAPTURED:
            loss = loss + self.terms(self.seen[layer], face) / len(CAPTURED)
        self.seen.clear()
        value = self.update(loss)
        return self.clean(noisy, guess, timesteps.expand(4))[:1].detach(), value

    def terms(self, seen: dict[str, Any], face: Tensor) -> Tensor:
        """Feature delta, and what keeps the face, of one layer."""
        features, queries, keys = (seen[name] for name in ("features", "queries", "keys"))
        side = int(features.shape[1] ** 0.5)
        maps = [row[None].unflatten(1, (side, side)).permute(0, 3, 1, 2) for row in features]
        loss = 1e-4 * feature_delta(*(pooled(one) for one in maps)).mean()
        pools = [_small(row[None], side) for row in features]
        asked = [_small(row[None], side) for row in queries]
        small = F.adaptive_avg_pool2d(face, int(pools[0].shape[1] ** 0.5)).flatten(1)
        scores = (asked[1] @ keys[1][None].transpose(1, 2)) / queries.shape[-1] ** 0.5
        shares = scores.softmax(-1)[..., ID_OFFSET : ID_OFFSET + self.count].sum(-1)
        kept = preserved(
            (pools[0], pools[1], pools[3]), (asked[0], asked[1], asked[3], asked[2]), shares, small
        )
        return loss + 1e-3 * sum(term.mean() for term in vars(kept).values())


def _small(rows: Tensor, side: int) -> Tensor:
    """Rows (1, N, D) of a square, in windows of 4 places, 2 apart, where it has more than 8 a side."""
    if side <= 8:
        return rows
    maps = rows.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    return F.avg_pool2d(maps, 4, 2).flatten(2).transpose(1, 2)
