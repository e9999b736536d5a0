"""A fake process of notify: ``python -m tests.support.fake_process BEHAVIOUR``."""

import sys
from signal import SIG_IGN, SIGTERM, pause, signal
from subprocess import Popen


def main(behaviour: str) -> None:
    """Behave as named until a signal comes, or end at once."""
    match behaviour:
        case "obeys":
            pass
        case "fails":
            sys.exit(7)
        case "ignores":
            signal(SIGTERM, SIG_IGN)
            sys.stdout.write("ignores\n")
            sys.stdout.flush()
        case "leaves-a-child":
            Popen([sys.executable, "-m", "tests.support.fake_process", "ignores"])
        case unknown:
            raise ValueError(unknown)
    pause()


if __name__ == "__main__":
    main(sys.argv[1])
