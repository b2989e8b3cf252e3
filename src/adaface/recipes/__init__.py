"""ONE FILE AN EXPERIMENT: a config and a step, over a prepared data set and a stack (presets in configs/)."""
