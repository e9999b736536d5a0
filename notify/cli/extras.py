"""What to install for a command that needs more than an application that emits."""

from collections.abc import Sequence

CLI = "cli"
EXTRA_OF = {
    "up": "embedded",
    "demo": "embedded",
    "explain": "worker",
    "jobs": "worker",
    "relays": "worker",
    "preview": "worker",
    "send-test": "worker",
    "token": "api",
    "doctor": "worker",
    "top": "worker",
}


def what_to_install(arguments: Sequence[str], missing: ModuleNotFoundError) -> str | None:
    """One sentence for who asked for a command that this module is missing for; None: the module is one of ours."""
    module = (missing.name or "notify").partition(".")[0]
    if module == "notify":
        return None
    command = next((word for word in arguments if not word.startswith("-")), "")
    extra = EXTRA_OF.get(command, CLI)
    return (
        f"{command or 'the command line'} needs {module}, which is not installed: pip install 'notify-outbox[{extra}]'"
    )
