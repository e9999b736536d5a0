"""
From facts and templates to the bytes of an email.

``facts`` and ``comments`` prepare what templates may use, ``render`` renders them, ``headers`` and ``message`` make
bytes, ``compose`` puts one email together, ``dkim`` signs it.
"""
