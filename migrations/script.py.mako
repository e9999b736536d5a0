"""
${message}

Phase:              Locks:
Runs:                                           Undo:
"""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """"""


def downgrade() -> None:
    """"""
