"""Arc2Face's prompter: ID embedding (B, D_id) -> ID prompt embeddings (B, K, D); T text positions.

The ID embedding, padded with zeros, stands in the place of the word "id" in "photo of a id person"; a CLIP
text model that was trained for it turns that prompt into the teacher's context. Source: Arc2Face;
docs/method.md.
"""

from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextModel, PreTrainedTokenizerBase

from adaface.errors import ConfigError, MissingFileError, ShapeError
from adaface.spec import ID_OFFSET, ID_PROMPT, ID_WORD, NUM_ID_VECTORS
from adaface.text.clip import TextEncoder
from adaface.text.folder import load_text_encoder, load_tokenizer
from adaface.text.tokens import framed_ids, single_token_ids

ENCODER_FOLDERS = ("text_encoder", "encoder")  # a diffusers folder's name, and Arc2Face's


class Arc2FacePrompter(nn.Module):
    """ID embedding -> ID prompt embeddings, through a text model that speaks the ID teacher's language."""

    input_ids: Tensor

    def __init__(
        self, model: CLIPTextModel, tokenizer: PreTrainedTokenizerBase, num_id_vectors: int = NUM_ID_VECTORS
    ) -> None:
        """model: used as it is, not copied. num_id_vectors: K, the positions read behind "photo of a ".

        Raises ConfigError: a word of the template is not one token, or K does not fit the text length.
        """
        super().__init__()
        self.model, self.num_id_vectors = model, num_id_vectors
        self._text = TextEncoder(model)
        ids = single_token_ids(tokenizer, ID_PROMPT.split())
        fits = self._text.max_length - ID_OFFSET
        if not 1 <= num_id_vectors <= fits:
            raise ConfigError(f"num_id_vectors={num_id_vectors}: this text model has places for 1 to {fits}")
        length = max(self._text.max_length, len(ids) + 2)
        row = framed_ids(tokenizer, ids, length)[: self._text.max_length]
        self.register_buffer("input_ids", torch.tensor([row]), persistent=False)
        self._place = 1 + ID_PROMPT.split().index(ID_WORD)  # behind the start token

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, num_id_vectors: int = NUM_ID_VECTORS, dtype: torch.dtype = torch.float32
    ) -> Self:
        """Read a folder with `text_encoder/` or `encoder/` beside `tokenizer/`, or with the files of both in
        itself.

        Raises MissingFileError or FormatError: parts are missing or do not fit; ConfigError: as the
        constructor.
        """
        folder = Path(folder)
        encoder = next(
            (folder / n for n in ENCODER_FOLDERS if (folder / n / "config.json").is_file()), folder
        )
        if not (encoder / "config.json").is_file():
            raise MissingFileError(
                f"{folder}: no text_encoder/config.json, encoder/config.json or config.json there. Give "
                "Arc2Face's folder, as adaface setup sd15 writes it"
            )
        tokenizer = folder / "tokenizer" if (folder / "tokenizer").is_dir() else folder
        return cls(load_text_encoder(encoder, dtype), load_tokenizer(tokenizer), num_id_vectors)

    @property
    def width(self) -> int:
        """D, the width of the ID prompt embeddings and the most that an ID embedding may have."""
        return self._text.width

    def forward(self, id_embedding: Tensor) -> Tensor:
        """ID embedding (B, D_id) of any length, made unit here -> ID prompt embeddings (B, K, D).

        A row of zeros stays zeros: the context of nobody. Raises ShapeError: D_id is larger than D.
        """
        return self._encode(id_embedding, slice(ID_OFFSET, ID_OFFSET + self.num_id_vectors))

    def context(self, id_embedding: Tensor, length: int | None = None) -> Tensor:
        """The ID teacher's context: the first `length` positions, all by default; (B, D_id) -> (B, length,
        D).

        Raises ShapeError: D_id is larger than D, or `length` than the text length.
        """
        return self._encode(id_embedding, slice(0, self._text.max_length if length is None else length))

    def _encode(self, id_embedding: Tensor, read: slice) -> Tensor:
        if id_embedding.ndim != 2 or id_embedding.shape[1] > self.width:
            raise ShapeError(
                f"ID embedding {tuple(id_embedding.shape)}: this prompter takes (B, up to {self.width})"
            )
        if not 0 < read.stop <= self._text.max_length:
            raise ShapeError(
                f"{read.stop} positions of a text length of {self._text.max_length}: give 1 up to that"
            )
        rows = self._text.embed_tokens(self.input_ids[:, : max(read.stop, self._place + 1)])  # (1, T, D)
        face = F.normalize(id_embedding.float(), dim=-1).to(rows)
        face = F.pad(face, (0, self.width - face.shape[1]))[:, None]  # (B, D_id) -> (B, 1, D)
        before, after = rows[:, : self._place], rows[:, self._place + 1 :]
        batch = (len(face), -1, -1)
        return self._text(torch.cat([before.expand(batch), face, after.expand(batch)], dim=1), positions=read)
