"""
From facts and templates to the bytes of an email.

``facts`` and ``comments`` are what may be said, ``render`` makes the words, ``headers`` and ``message`` the bytes,
``compose`` one email of both, ``dkim`` its signature.
"""
