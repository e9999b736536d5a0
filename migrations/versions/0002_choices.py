"""
Create people's choices and the kinds of events they choose about.

Phase: add          Locks: four new tables, nobody waits
Runs:  before the code that reads them          Undo: drops the tables and what is in them
"""

from alembic import op

revision = "0002"
down_revision = "0001"

SCHEMA = """
    CREATE TABLE notify.notification_event_types (
        code TEXT NOT NULL,
        category TEXT NOT NULL,
        description TEXT NOT NULL,
        system_required BOOLEAN DEFAULT false NOT NULL,
        default_enabled BOOLEAN DEFAULT true NOT NULL,
        CONSTRAINT notification_event_types_pkey PRIMARY KEY (code)
    );
    COMMENT ON TABLE notify.notification_event_types IS 'Kinds of events people can choose about; seeded by migrations.';
    COMMENT ON COLUMN notify.notification_event_types.code IS 'Event type, past participle, dotted: cl.comment.created.';
    COMMENT ON COLUMN notify.notification_event_types.category IS 'Heading under which people find the type.';
    COMMENT ON COLUMN notify.notification_event_types.description IS 'One sentence for the preferences page.';
    COMMENT ON COLUMN notify.notification_event_types.system_required IS 'True means that nobody can switch it off.';
    COMMENT ON COLUMN notify.notification_event_types.default_enabled IS 'What holds for people who have chosen nothing.';

    CREATE TABLE notify.user_notification_settings (
        username TEXT NOT NULL,
        email TEXT,
        enabled BOOLEAN DEFAULT true NOT NULL,
        delivery_mode TEXT DEFAULT 'realtime' NOT NULL,
        CONSTRAINT user_notification_settings_pkey PRIMARY KEY (username),
        CONSTRAINT user_notification_settings_delivery_mode_check CHECK (delivery_mode IN ('realtime'))
    );
    COMMENT ON TABLE notify.user_notification_settings IS 'Choices about all letters. No row means the defaults.';
    COMMENT ON COLUMN notify.user_notification_settings.username IS 'Whose choice.';
    COMMENT ON COLUMN notify.user_notification_settings.email IS 'Where letters go; null means the directory''s address.';
    COMMENT ON COLUMN notify.user_notification_settings.enabled IS 'The master switch.';
    COMMENT ON COLUMN notify.user_notification_settings.delivery_mode IS 'realtime: a letter for each event, at once.';

    CREATE TABLE notify.user_notification_preferences (
        username TEXT NOT NULL,
        event_type_code TEXT NOT NULL,
        enabled BOOLEAN NOT NULL,
        CONSTRAINT user_notification_preferences_pkey PRIMARY KEY (username, event_type_code),
        CONSTRAINT user_notification_preferences_event_type_code_fkey FOREIGN KEY(event_type_code) REFERENCES notify.notification_event_types (code) ON DELETE CASCADE
    );
    COMMENT ON TABLE notify.user_notification_preferences IS 'Choices about single kinds of events. No row means the type''s default.';
    COMMENT ON COLUMN notify.user_notification_preferences.username IS 'Whose choice.';
    COMMENT ON COLUMN notify.user_notification_preferences.event_type_code IS 'The kind of event.';
    COMMENT ON COLUMN notify.user_notification_preferences.enabled IS 'The explicit choice.';

    CREATE TABLE notify.cl_mutes (
        cl_link TEXT NOT NULL,
        username TEXT NOT NULL,
        CONSTRAINT cl_mutes_pkey PRIMARY KEY (username, cl_link)
    );
    COMMENT ON TABLE notify.cl_mutes IS 'Change lists that people do not want letters about. Need not be in change_lists yet.';
    COMMENT ON COLUMN notify.cl_mutes.cl_link IS 'The change list that the person has muted.';
    COMMENT ON COLUMN notify.cl_mutes.username IS 'Whose choice.';
"""


def upgrade() -> None:
    """Create the tables."""
    op.execute(SCHEMA)


def downgrade() -> None:
    """Drop the tables."""
    op.execute("DROP TABLE notify.cl_mutes")
    op.execute("DROP TABLE notify.user_notification_preferences")
    op.execute("DROP TABLE notify.user_notification_settings")
    op.execute("DROP TABLE notify.notification_event_types")
