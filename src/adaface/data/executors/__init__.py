"""CHUNKS -> DONE: the same function over chunks of photos, in this process, in several, or on a cluster."""

from adaface.data.executors.local import Chunk, run_chunks

__all__ = ["Chunk", "run_chunks"]
