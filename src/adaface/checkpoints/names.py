"""Which names a pickle may use: closed lists of exact pairs (module, name); no prefixes, no dotted names.

A name on a list is a tensor, a storage or a container (see `pickles`), or else becomes an inert record.
"""

import torch

Names = frozenset[tuple[str, str]]

STORAGES = {
    ("torch", "DoubleStorage"): torch.float64,
    ("torch", "FloatStorage"): torch.float32,
    ("torch", "HalfStorage"): torch.float16,
    ("torch", "BFloat16Storage"): torch.bfloat16,
    ("torch", "LongStorage"): torch.int64,
    ("torch", "IntStorage"): torch.int32,
    ("torch", "ShortStorage"): torch.int16,
    ("torch", "CharStorage"): torch.int8,
    ("torch", "ByteStorage"): torch.uint8,
    ("torch", "BoolStorage"): torch.bool,
}
TENSOR = ("torch._utils", "_rebuild_tensor_v2")
PARAMETER = ("torch._utils", "_rebuild_parameter")
ORDERED_DICT = ("collections", "OrderedDict")
ENCODE = ("_codecs", "encode")  # how protocol 2 writes bytes
SETS = (("__builtin__", "set"), ("builtins", "set"))


def _of(module: str, *names: str) -> Names:
    return frozenset((module, name) for name in names)


TENSORS_ONLY: Names = frozenset([*STORAGES, TENSOR, PARAMETER, ORDERED_DICT])
"""State dicts: tensors in dicts and lists."""

LIGHTNING: Names = (
    TENSORS_ONLY
    | frozenset([ENCODE, *SETS])
    | _of("numpy", "dtype", "ndarray")
    | _of("numpy.core.multiarray", "scalar", "_reconstruct")
    | _of("numpy._core.multiarray", "scalar", "_reconstruct")
    | _of("pytorch_lightning.callbacks", "ModelCheckpoint")
    | _of("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")
)
"""What a training with Lightning leaves beside the state dict, as in Stable Diffusion's .ckpt files."""

_GENERATORS = ("SubjBasisGenerator", "CrossAttention", "LayerwiseMLPProjWithSkip")
_CLIP = (
    *("CLIPTextTransformer", "CLIPTextEmbeddings", "CLIPEncoder", "CLIPEncoderLayer", "CLIPMLP"),
    *("CLIPAttention", "CLIPSdpaAttention", "CLIPFlashAttention2"),
)

ORIGINAL: Names = (
    TENSORS_ONLY
    | frozenset([ENCODE, *SETS])
    | _of("torch", "float16", "float32", "bfloat16", "detach")
    | _of("adaface.subj_basis_generator", *_GENERATORS)
    | _of("ldm.modules.subj_basis_generator", *_GENERATORS)
    | _of("adaface.arc2face_models", "CLIPTextModelWrapper", "CLIPAttentionMKV")
    | _of("ldm.modules.arc2face_models", "CLIPTextModelWrapper", "CLIPAttentionMKV")
    | _of("adaface.util", "GradientScaler")
    | _of("ldm.util", "GradientScaler")
    | _of("ldm.modules.embedding_manager", "StaticLayerwiseEmbedding")
    | _of("torch.nn.modules.container", "ModuleDict", "ModuleList", "ParameterDict", "Sequential")
    | _of("torch.nn.modules.linear", "Linear", "Identity")
    | _of("torch.nn.modules.normalization", "LayerNorm")
    | _of("torch.nn.modules.sparse", "Embedding")
    | _of("torch.nn.modules.dropout", "Dropout")
    | _of("torch.nn.modules.batchnorm", "BatchNorm2d")
    | _of("torch.nn.modules.activation", "GELU")
    | _of("einops.layers.torch", "Rearrange")
    | _of("transformers.activations", "QuickGELUActivation")
    | _of("transformers.models.clip.configuration_clip", "CLIPTextConfig")
    | _of("transformers.models.clip.modeling_clip", *_CLIP)
    | _of("transformers.models.clip.tokenization_clip", "CLIPTokenizer", "BasicTokenizer")
    | _of("transformers.tokenization_utils", "Trie")
    | _of("tokenizers", "AddedToken")
    | _of("regex._regex", "compile")
    | _of("ftfy", "fix_text")
)
"""The authors' checkpoints of 2024 and 2025: whole module objects, their tokenizer among them."""
