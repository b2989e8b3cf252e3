"""The command line: parse, call, print. Nothing here that three lines of Python could not do."""
