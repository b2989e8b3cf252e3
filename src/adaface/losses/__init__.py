"""PURE FUNCTIONS: tensors in, a loss out; no model, no weight, no logging."""
