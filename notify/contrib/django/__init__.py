"""
notify in a Django project: ``"notify.contrib.django"`` belongs in ``INSTALLED_APPS``.

    with transaction.atomic():
        comment.save()
        emit({"type": "cl.comment.created", "actor": "dana", "cl": …, "comment": …})
"""

from notify.contrib.django.emitting import NotInAtomicBlock, UnsupportedDatabase, emit, publish, withdraw

__all__ = ["NotInAtomicBlock", "UnsupportedDatabase", "emit", "publish", "withdraw"]
