"""A Gitea that keeps the statuses and labels of one repository, over the scripts of a forge of the tests."""

from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import urlencode

from tests.forges.server import Answer, Asked, ForgeServer


class GiteaKeeper:
    """
    Change 7 has the one commit that there is; change 9 has another head.

    Args:
        labels: The numbers of the repository's labels by their names.
    """

    def __init__(self, forge: ForgeServer, full_name: str, *, sha: str, labels: dict[str, int] | None = None) -> None:
        self._forge, self._sha = forge, sha
        self.full_name = full_name
        self.statuses: list[tuple[str, str, str]] = []
        self.labels = dict(labels or {})
        self.labels_of: dict[int, set[int]] = {7: set(), 9: set()}
        self._route()

    @property
    def names_of(self) -> set[str]:
        """The labels of change 7 by their names."""
        return {name for name, number in self.labels.items() if number in self.labels_of[7]}

    def rename(self, full_name: str) -> None:
        """Calls under the former name are led to the new one."""
        before, self.full_name = self.full_name, full_name
        paths = {path for path in self._forge.scripts if f"{path}/".startswith(f"/repos/{before}/")}
        self._route()
        for path in paths:
            self._forge.scripts[path] = lambda asked: self._moved(asked, before, full_name)

    def _moved(self, asked: Asked, before: str, now: str) -> Answer:
        """Source: Gitea's RedirectToRepo keeps the query."""
        there = asked.path.replace(before, now, 1) + (f"?{urlencode(asked.query)}" if asked.query else "")
        return Answer(status=HTTPStatus.TEMPORARY_REDIRECT, headers={"Location": f"{self._forge.url}{there}"})

    def _route(self) -> None:
        home = f"/repos/{self.full_name}"
        self._forge.says(home, {"id": 700, "full_name": self.full_name})
        self._forge.says(f"{home}/git/commits/{self._sha}", {"sha": self._sha})
        # Source: Gitea answers 500 when it cannot find the commit of a status.
        missing = Answer({"message": f"GetCommit[{'0' * 40}]: object does not exist"}, 500)
        self._forge.says(f"{home}/statuses/{'0' * 40}", missing)
        self._forge.scripts[f"{home}/statuses/{self._sha}"] = self._status
        self._forge.scripts[f"{home}/labels"] = self._labels
        self._forge.scripts[f"{home}/pulls"] = self._pulls
        for number in self.labels_of:
            self._forge.scripts[f"{home}/issues/{number}/labels"] = self._add(number)
            for label in (*self.labels.values(), self._next_label):
                self._forge.scripts[f"{home}/issues/{number}/labels/{label}"] = self._remove(number, label)

    @property
    def _next_label(self) -> int:
        return max(self.labels.values(), default=30) + 1

    def _status(self, asked: Asked) -> Answer:
        given = asked.json
        self.statuses.append((given["context"], given["state"], given.get("description", "")))
        return Answer({"id": len(self.statuses), "status": given["state"]}, 201)

    def _labels(self, asked: Asked) -> Answer:
        if asked.method == "POST":
            number, name = self._next_label, asked.json["name"]
            self.labels[name] = number
            return Answer({"id": number, "name": name}, 201)
        listed = [{"id": number, "name": name} for name, number in self.labels.items()]
        return Answer(listed, headers={"X-Total-Count": str(len(listed))})

    def _pulls(self, asked: Asked) -> Answer:
        assert asked.query["state"] == "open"
        names = {number: name for name, number in self.labels.items()}
        listed = [
            {
                "number": number,
                "state": "open",
                "head": {"ref": "x", "sha": self._sha if number == 7 else "b" * 40},
                "labels": [{"id": label, "name": names[label]} for label in labels],
            }
            for number, labels in self.labels_of.items()
        ]
        return Answer(listed, headers={"X-Total-Count": "2"})

    def _add(self, number: int) -> Callable[[Asked], Answer]:
        def added(asked: Asked) -> Answer:
            self.labels_of[number] |= set(asked.json["labels"])
            return Answer([])

        return added

    def _remove(self, number: int, label: int) -> Callable[[Asked], Answer]:
        def removed(asked: Asked) -> Answer:
            assert asked.method == "DELETE"
            self.labels_of[number] -= {label}
            return Answer(b"", 204)

        return removed
