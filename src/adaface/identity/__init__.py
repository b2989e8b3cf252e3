"""A PERSON AS A FILE: subject embeddings under a name, with their origin."""

from adaface.identity.files import Identity
from adaface.identity.names import check_name, slot

__all__ = ["Identity", "check_name", "slot"]
