"""The forges file is taken whole or refused whole, with every fault named and no secret shown."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from notify.domain.errors import InvalidSettings
from notify.domain.forge_settings import (
    CommandRunner,
    ForgeKind,
    ForgesFile,
    GitHubActionsRunner,
    HttpRunner,
    Identities,
    Secret,
)
from notify.forges_file import load

SECRET = "0123456789abcdef0123456789abcdef"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----\n"
ENVIRON = {"HOOK": SECRET, "CI_TOKEN": "ci-secret", "TOKEN": "gitea-secret", "PEM": PEM, "SHORT": "fifteen letters"}
GITHUB = """
[forges.github]
kind = "github"
webhook_secrets = ["env:HOOK"]
app_id = 1
private_key = "env:PEM"
"""
GITEA = """
[forges.code]
kind = "gitea"
web_url = "https://code.example/"
token = "env:TOKEN"
webhook_secrets = ["env:HOOK"]
"""
QUEUE = """
[queues."app/main"]
forge = "github"
repository = "acme/app"
ref = "refs/heads/main"
remote = "https://github.com/acme/app.git"
runner = { kind = "http", url = "https://ci.example/start", token = "env:CI_TOKEN" }
"""

Read = Callable[[str], ForgesFile]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def of(text: str) -> ForgesFile:
        path = tmp_path / "forges.toml"
        path.write_text(text, encoding="utf-8")
        return load(path, environ=ENVIRON)

    return of


def faults(read: Read, text: str) -> list[str]:
    with pytest.raises(InvalidSettings) as refused:
        read(text)
    return [problem.partition("forges.toml: ")[2] for problem in refused.value.problems]


def test_the_sample_names_every_key_and_is_valid(tmp_path: Path) -> None:
    sample = Path(__file__).parents[2].joinpath("deploy/forges.toml").read_text(encoding="utf-8")
    for name, content in {"github.pem": PEM, "gitea-token": "t", "gitea-webhook": SECRET}.items():
        (tmp_path / name).write_text(content + "\n", encoding="utf-8")
    path = tmp_path / "forges.toml"
    path.write_text(sample.replace("/run/secrets", str(tmp_path)), encoding="utf-8")

    found = load(path, environ={"GITHUB_WEBHOOK_SECRET": SECRET, "CI_TOKEN": "c"})

    assert set(found.forges) == {"github", "code"}
    assert found.forges["code"].token == Secret(f"file:{tmp_path}/gitea-token", "t")
    assert found.queues["monorepo/main"].promotion_ref == "refs/heads/green"
    optional = {"api_url", "installation_id", "prefix", "error_label"}
    assert all(key in sample for key in optional)


def test_what_is_not_stated_has_its_default(read: Read) -> None:
    found = read(GITHUB + GITEA + QUEUE)
    github, code, queue = found.forges["github"], found.forges["code"], found.queues["app/main"]
    assert (github.kind, github.api_url, github.web_url) == (
        ForgeKind.GITHUB,
        "https://api.github.com",
        "https://github.com",
    )
    assert (code.kind, code.api_url, code.web_url) == (
        ForgeKind.GITEA,
        "https://code.example/api/v1",
        "https://code.example",
    )
    assert github.repositories is None
    assert github.identities is Identities.LOGIN
    assert queue.max_concurrent == 1
    assert queue.promotion_ref is None
    assert queue.runner == HttpRunner(url="https://ci.example/start", token=Secret("env:CI_TOKEN", "ci-secret"))


def test_an_enterprise_servers_pages_are_beside_its_api(read: Read) -> None:
    found = read(GITHUB + 'api_url = "https://git.example/api/v3/"')
    assert found.forges["github"].api_url == "https://git.example/api/v3"
    assert found.forges["github"].web_url == "https://git.example"


def test_a_prefix_begins_every_link(read: Read) -> None:
    found = read(GITEA + 'prefix = "code:"')
    assert found.forges["code"].link("acme/app", 7) == "code:acme/app#7"


@pytest.mark.parametrize(
    ("runner", "expected"),
    [
        (
            '{ kind = "github_actions", workflow = "validate.yml", ref = "refs/heads/main" }',
            GitHubActionsRunner(workflow="validate.yml", ref="refs/heads/main"),
        ),
        ('{ kind = "command", command = ["make", "test"] }', CommandRunner(command=("make", "test"))),
        (
            '{ kind = "command", command = ["make"], output_url = "http://127.0.0.1:8030/builds/" }',
            CommandRunner(command=("make",), output_url="http://127.0.0.1:8030/builds"),
        ),
    ],
)
def test_every_kind_of_runner_is_known(read: Read, runner: str, expected: Any) -> None:
    stated = QUEUE.replace('{ kind = "http", url = "https://ci.example/start", token = "env:CI_TOKEN" }', runner)
    assert read(GITHUB + stated).queues["app/main"].runner == expected


def test_an_empty_file_has_nothing(read: Read) -> None:
    assert read("") == ForgesFile()


ONE_FAULT = {
    "an unknown key": (
        GITHUB + 'webhook_secret = "x"',
        "forges.github.webhook_secret is not known; did you mean webhook_secrets?",
    ),
    "an unknown table": (GITHUB + "[forge.x]", "forge is not known; did you mean forges?"),
    "an unknown key inside a runner": (
        GITHUB + QUEUE.replace("token =", "tokens ="),
        'queues."app/main".runner.tokens is not known; did you mean token?',
    ),
    "an unknown key of entries": (
        GITEA + '[forges.code.entries]\nrepository = "a/b"\nfolder = "c"\nrepo = "d/e"',
        "forges.code.entries.repo is not known; did you mean repository?",
    ),
    "a text for a number": (
        GITHUB.replace("app_id = 1", 'app_id = "1"'),
        "forges.github.app_id is '1': expected a valid integer",
    ),
    "an unknown kind": (GITHUB.replace('"github"', '"gitlab"'), "forges.github.kind is 'gitlab': expected 'github' or"),
    "a name that no URL has": (GITHUB.replace("forges.github", 'forges."Git Hub"'), "forges.'Git Hub' is no name"),
    "a variable that is not set": (
        GITHUB.replace("env:HOOK", "env:NONE"),
        "forges.github.webhook_secrets.0 is (not shown): env:NONE: the variable is not set",
    ),
    "a file that is not there": (
        GITHUB.replace("env:PEM", "file:/nowhere/key.pem"),
        "forges.github.private_key is (not shown): file:/nowhere/key.pem: No such file or directory",
    ),
    "a short webhook secret": (
        GITHUB.replace("env:HOOK", "env:SHORT"),
        "env:SHORT has 15 characters; expected at least 16",
    ),
    "no webhook secret": (GITHUB.replace('["env:HOOK"]', "[]"), "forges.github.webhook_secrets is (not shown): List"),
    "a key that is none": (GITHUB.replace("env:PEM", "env:HOOK"), "env:HOOK: expected a private key in PEM"),
    "an app without a key": (
        GITHUB.replace('private_key = "env:PEM"', ""),
        "forges.github.private_key is missing, but app_id is set",
    ),
    "an app and a token": (GITHUB + 'token = "env:TOKEN"', "forges.github.token and forges.github.app_id are both set"),
    "neither app nor token": (
        GITHUB.replace("app_id = 1", "").replace('private_key = "env:PEM"', ""),
        "forges.github.app_id is missing; expected app_id and private_key, or token",
    ),
    "an app on Gitea": (GITEA + "app_id = 1", "forges.code.app_id is set; Gitea has no apps"),
    "no address of Gitea": (GITEA.replace("web_url", "# "), "forges.code.web_url is missing"),
    "no token of Gitea": (GITEA.replace("token", "# "), "forges.code.token is missing"),
    "a repository without owner": (
        GITHUB + 'repositories = ["app"]',
        "forges.github.repositories.0 is 'app': expected owner/name",
    ),
    "one link for two changes": (
        GITHUB + 'repositories = ["acme/App"]' + GITEA + 'repositories = ["acme/app"]',
        "forges.github and forges.code both mirror acme/app; expected a prefix in each",
    ),
    "a prefix in only one": (
        GITHUB + 'repositories = ["acme/app"]\nprefix="gh:"' + GITEA + 'repositories = ["acme/app"]',
        "forges.github and forges.code both mirror acme/app; expected a prefix in each",
    ),
    "the same prefix in both": (
        GITHUB + 'repositories = ["acme/app"]\nprefix="x:"' + GITEA + 'repositories = ["acme/app"]\nprefix="x:"',
        "forges.github and forges.code both mirror acme/app; expected a prefix in each",
    ),
    "a queue of no forge": (
        GITHUB + QUEUE.replace('"github"', '"gitub"'),
        "queues.\"app/main\".forge is 'gitub'; expected a forge of this file; did you mean github?",
    ),
    "a short ref": (
        GITHUB + QUEUE.replace("refs/heads/main", "main"),
        "queues.\"app/main\".ref is 'main': expected a full ref",
    ),
    "promotion onto itself": (
        GITHUB + QUEUE + 'promotion_ref = "refs/heads/main"',
        "queues.\"app/main\".promotion_ref is 'refs/heads/main', as ref is",
    ),
    "an unknown runner": (
        GITHUB + QUEUE.replace('"http"', '"htp"'),
        "queues.\"app/main\".runner.kind is 'htp'; expected one of command, github_actions, http",
    ),
    "a runner without kind": (
        GITHUB + QUEUE.replace('kind = "http", ', ""),
        'queues."app/main".runner.kind is missing; expected one of command, github_actions, http',
    ),
    "actions on Gitea": (
        GITEA
        + QUEUE.replace('forge = "github"', 'forge = "code"').replace(
            '{ kind = "http", url = "https://ci.example/start", token = "env:CI_TOKEN" }',
            '{ kind = "github_actions", workflow = "v.yml", ref = "refs/heads/main" }',
        ),
        "runner.kind is 'github_actions', but forge 'code' is of kind 'gitea'",
    ),
    "not TOML": ("[forges", "expected TOML in UTF-8"),
}


@pytest.mark.parametrize(("text", "fault"), ONE_FAULT.values(), ids=ONE_FAULT)
def test_a_fault_is_named_with_its_key_and_what_was_expected(read: Read, text: str, fault: str) -> None:
    found = faults(read, text)
    assert len(found) == 1, found
    assert fault in found[0]


def test_two_forges_with_prefixes_may_mirror_one_name(read: Read) -> None:
    same = 'repositories = ["acme/app"]\nprefix = '
    found = read(GITHUB + same + '"gh:"' + GITEA + same + '"code:"')
    assert len({forge.link("acme/app", 1) for forge in found.forges.values()}) == 2


def test_all_faults_are_named_at_once(read: Read) -> None:
    found = faults(
        read,
        GITHUB.replace("env:HOOK", "env:NONE")
        + "installation = 3\n"
        + GITEA.replace("https:", "htps:").replace("token", "# ")
        + QUEUE.replace("refs/heads/main", "main"),
    )
    assert len(found) == 5, found


LEAKS = {
    "for a reference": GITHUB.replace("env:HOOK", "hunter2hunter2"),
    "for a list": GITHUB.replace('["env:HOOK"]', '"hunter2hunter2"'),
    "for a token": GITHUB + QUEUE.replace("env:CI_TOKEN", "hunter2hunter2"),
    "in a remote": GITHUB + QUEUE.replace("https://github.com", "https://me:hunter2hunter2@github.com"),
    "in a runner's address": GITHUB + QUEUE.replace("https://ci.", "https://me:hunter2hunter2@ci."),
    "for a forge": GITHUB + 'forges.token = "hunter2hunter2"',
}


@pytest.mark.parametrize("text", LEAKS.values(), ids=LEAKS)
def test_a_secret_in_the_wrong_place_is_refused_and_not_shown(read: Read, text: str) -> None:
    assert "hunter2" not in "\n".join(faults(read, text))


def test_no_secret_is_in_what_the_file_became(read: Read) -> None:
    shown = repr(read(GITHUB + GITEA + QUEUE))
    assert not any(secret in shown for secret in (SECRET, "ci-secret", "gitea-secret", "MIIB"))


def test_a_file_that_is_not_there_is_named_by_its_setting(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"NOTIFY_FORGES_FILE is .*/none.toml': No such file"):
        load(tmp_path / "none.toml")
