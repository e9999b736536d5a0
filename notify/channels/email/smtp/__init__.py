"""
How emails get to the relay, and what its answers mean.

``relay`` reads the URL, ``connect`` opens a session (``login``, ``oauth``), ``session`` sends one email after another
over a ``conversation``, ``pool`` keeps several sessions, ``replies`` says what an answer means for the email.
"""
