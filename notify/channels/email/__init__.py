"""
Letters by SMTP: render, write the bytes, hand them over, understand the answer.

``render`` and ``comments`` make the words, ``headers`` and ``message`` the bytes, ``compose`` one letter of
both. ``relay`` is where it goes, ``connect`` the way there, ``conversation`` the lines said, ``session`` one
letter after another, ``pool`` several sessions, ``replies`` what an answer means, ``smtp`` the channel.
"""
