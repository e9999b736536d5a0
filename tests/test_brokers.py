"""Broker URLs that operators may configure, and what Celery gets."""

from ssl import CERT_NONE

import pytest

from notify import wiring
from notify.brokers import Broker, broker
from notify.settings import Settings

BOTH = "sentinel://u:pw@one:26379/3;sentinel://u:pw@two:26380/3"


@pytest.mark.parametrize(
    "stated",
    [
        "sentinel://u:pw@one;two:26380/3?master_name=main",
        "sentinel://u:pw@one:26379;sentinel://two:26380/3?master_name=main",
        "sentinel://u:pw@one:26379/3?master_name=main;sentinel://two:26380",
    ],
)
def test_several_sentinels_share_the_rest_of_the_url(stated: str) -> None:
    assert broker(stated) == Broker(BOTH, {"master_name": "main"})


def test_the_sentinels_password_is_separate_from_the_servers() -> None:
    found = broker("sentinel://:pw@one/0?master_name=main&sentinel_password=other")

    assert found == Broker(
        "sentinel://:pw@one:26379/0", {"master_name": "main", "sentinel_kwargs": {"password": "other"}}
    )


def test_a_sentinel_may_have_an_ipv6_address() -> None:
    assert broker("sentinel://[::1];[fd00::2]:26380/0?master_name=main").url == (
        "sentinel://[::1]:26379/0;sentinel://[fd00::2]:26380/0"
    )


@pytest.mark.parametrize(
    "stated", ["redis://:pw@one:6379/1", "redis+socket:///run/redis", "amqp://u:pw@one;amqp://u:pw@two"]
)
def test_other_broker_urls_are_passed_to_celery(stated: str) -> None:
    assert broker(stated) == Broker(stated)


@pytest.mark.parametrize(
    ("query", "checked"),
    [
        ("", {"ssl_cert_reqs": "required"}),
        ("?ssl_ca_certs=/etc/ca.pem", {"ssl_cert_reqs": "required", "ssl_ca_certs": "/etc/ca.pem"}),
        ("?ssl_cert_reqs=CERT_NONE", {"ssl_cert_reqs": "none"}),
    ],
)
def test_the_certificate_of_a_redis_is_verified_unless_the_url_says_otherwise(
    query: str, checked: dict[str, str]
) -> None:
    app = wiring.celery_app(Settings(_env_file=None, broker_url=f"rediss://one:6380/0{query}"))

    assert app.conf.broker_use_ssl == checked
    with app.connection_for_write() as connection:
        assert connection.ssl.get("ssl_cert_reqs") != CERT_NONE or checked == {"ssl_cert_reqs": "none"}


@pytest.mark.parametrize(
    "stated",
    [
        "memory://",
        "sentinel://:secret-word@one:26379/0",
        "sentinel://:secret-word@one:26379/0?master_name=",
        "sentinel://:secret-word@one:26379/0?master_name=main&master=main",
        "sentinel://:secret-word@one:port/0?master_name=main",
        "sentinel://:secret-word@one;/0?master_name=main",
    ],
)
def test_an_invalid_broker_url_is_refused_without_being_shown(stated: str) -> None:
    with pytest.raises(ValueError, match="expected") as refused:
        broker(stated)
    assert "secret-word" not in str(refused.value)


def test_sentinel_options_are_added_to_the_options_of_every_broker() -> None:
    app = wiring.celery_app(Settings(_env_file=None, broker_url="sentinel://one/0?master_name=main"))

    assert app.conf.broker_transport_options["master_name"] == "main"
    assert app.conf.broker_transport_options["socket_connect_timeout"] == 1
