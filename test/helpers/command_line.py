"""Commands in this process: what they print, and how they refuse."""

import contextlib
import io
import json

from geopurify_ros.cli import main


def run(*arguments):
    """Exit code, stdout and stderr of a command, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(a) for a in arguments])
        except SystemExit as stop:  # argparse ends this way
            code = stop.code
    return code, out.getvalue(), err.getvalue()


def last_json(*arguments):
    """The JSON object on the last line of stdout; strict: NaN is no JSON."""
    code, out, err = run(*arguments, "--json")
    assert code == 0, err

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(out.splitlines()[-1], parse_constant=refuse)


def refusal(*arguments):
    """The one sentence on stderr of a command that fails by the user's fault."""
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith(f"geopurify {arguments[0]}: ")
    return err
