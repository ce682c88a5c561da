"""Run commands one after the other under an audit hook that notes what is unpickled and which programs are started.

``python -m audited COMMANDS.json FOUND.json``: each command is a module and its arguments.
"""

import contextlib
import importlib
import io
import json
import sys
from pathlib import Path
from typing import Any

events: list[str] = []
EVENTS = ("pickle.find_class", "os.system", "subprocess.Popen", "marshal.loads", "marshal.load")


def hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "pickle.find_class" or (event in EVENTS and "bang" in str(arguments)):
        events.append(f"{event} {' '.join(map(str, arguments))}")


def main() -> None:
    commands, found = (Path(name) for name in sys.argv[1:])
    results = []
    for module, *arguments in json.loads(commands.read_text()):
        run = importlib.import_module(module).main
        events.clear()
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(arguments)
        results.append({"code": code, "out": out.getvalue(), "err": err.getvalue(), "events": list(events)})
    found.write_text(json.dumps(results))


if __name__ == "__main__":
    sys.addaudithook(hook)
    main()
