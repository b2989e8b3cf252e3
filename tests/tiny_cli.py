"""How the tests of the commands run them, and read the one line of a mistake."""

from typer.testing import CliRunner

from adaface.cli.main import app

PROMPT = "a photo of <person> in the meadow"


def run(*arguments, code=0):
    """What a command prints, once it has ended with `code`."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


def error(*arguments) -> str:
    """The message of a command that fails: one line, and nothing was written beside what was there."""
    result = run(*arguments, code=1)
    assert not result.stdout
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1
    assert "Traceback" not in result.output
    return lines[0]
