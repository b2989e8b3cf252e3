"""RUN FOLDER -> PAGE: report.html, self-contained, with summary.json and plots beside it."""

from adaface.evaluation.report.writing import write

__all__ = ["write"]
