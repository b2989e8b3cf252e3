"""The smoke config, small enough for tests of seconds, over the tiny stack and drawn faces."""


def small(stack, faces, **values):
    """The settings of a run of 4 steps; values: as a YAML file would hold them."""
    from adaface.recipes.registry import read_config
    from adaface.training.config import Layer

    loop = {"steps": 4, "save_steps": 2, "log_steps": 1, "schedule": {"warmup_steps": 1}}
    loop |= values.pop("loop", {})
    samples = {"people": 2, "steps": 2, "prompts": ["a photo of <person>"], **values.pop("samples", {})}
    given = {"stack": str(stack), "data": str(faces), "batch": 4, "validation": 4, "device": "cpu"}
    return read_config("smoke", Layer("test", {**given, "loop": loop, "samples": samples, **values}))
