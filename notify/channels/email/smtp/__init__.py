"""
Sends emails to the relay, and classifies its replies.

``relay`` parses the URL, ``connect`` opens a session (``login``, ``oauth``), ``session`` sends emails over a
``conversation``, ``pool`` keeps several sessions, ``replies`` turns a reply into an outcome.
"""
