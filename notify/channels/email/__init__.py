"""Emails by SMTP: ``writing`` makes bytes of facts, ``smtp`` hands them to a relay, ``channel`` does both."""
