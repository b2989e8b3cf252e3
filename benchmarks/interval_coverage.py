"""How often does a 95 % interval over so many people hold the truth? The plain bootstrap, and `Estimate`.

Of normal values, whose mean is known. `python benchmarks/interval_coverage.py [--samples 3000]`; the last
line is JSON.
"""

import argparse
import json

import numpy as np

from adaface.evaluation.statistics import Estimate, interval

PEOPLE = (2, 3, 5, 8, 12, 24, 40)
DRAWS = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=3000)
    samples = parser.parse_args().samples
    rng = np.random.default_rng(0)
    figures = {}
    for people in PEOPLE:
        plain = wide = 0
        for _ in range(samples):
            row = rng.normal(size=people)
            _, low, high = interval(row, DRAWS)
            plain += low <= 0 <= high
            ours = Estimate.of(row, DRAWS)
            wide += ours.low <= 0 <= ours.high
        figures[people] = {"bootstrap": plain / samples, "estimate": wide / samples}
        print(f"{people:3d} people: bootstrap {plain / samples:.3f}, Estimate {wide / samples:.3f}")
    print(json.dumps({"benchmark": "interval_coverage", "samples": samples, "coverage": figures}))


if __name__ == "__main__":
    main()
