"""PIXELS WITH GRADIENTS -> WHO: alignment and a recogniser in torch, for losses and for scoring in bulk."""
