"""
From bytes to the relay's word on them.

``relay`` is where emails go, ``connect`` opens a session, ``conversation`` carries its lines, ``session`` sends one
email after another, ``pool`` keeps several, ``replies`` says what an answer means.
"""
