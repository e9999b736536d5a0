"""The host names that a service on one machine answers to."""

from ipaddress import ip_address


def is_local(host: str) -> bool:
    """
    Whether no site can have made a browser send this host along.

    A site can point its own name at this machine and read what is served to that name (DNS rebinding); it cannot make a
    browser call an address, or a name without a dot, its own.
    """
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return host != "" and ("." not in host or host.endswith(".localhost"))
    return True
