"""
Let people say when: the columns of digests, quiet hours, pause and time zone on user_notification_settings.

Phase: add          Locks: user_notification_settings, exclusive, no rewrite (constant defaults); one pass for the checks
Runs:  before the code that reads them          Undo: everybody has realtime again; drops what was added
"""

from alembic import op

revision = "0014"
down_revision = "0013"

SCHEMA = """
    ALTER TABLE notify.user_notification_settings
        ADD COLUMN digest_hour SMALLINT DEFAULT 9 NOT NULL,
        ADD COLUMN digest_weekday SMALLINT DEFAULT 1 NOT NULL,
        ADD COLUMN timezone TEXT,
        ADD COLUMN quiet_days SMALLINT[],
        ADD COLUMN quiet_start TIME WITHOUT TIME ZONE,
        ADD COLUMN quiet_end TIME WITHOUT TIME ZONE,
        ADD COLUMN paused_until TIMESTAMP WITH TIME ZONE,
        DROP CONSTRAINT user_notification_settings_delivery_mode_check,
        ADD CONSTRAINT user_notification_settings_delivery_mode_check
            CHECK (delivery_mode IN ('realtime', 'hourly', 'daily', 'weekly')),
        ADD CONSTRAINT user_notification_settings_digest_hour_check CHECK (digest_hour BETWEEN 0 AND 23),
        ADD CONSTRAINT user_notification_settings_digest_weekday_check CHECK (digest_weekday BETWEEN 1 AND 7),
        ADD CONSTRAINT user_notification_settings_quiet_whole_check
            CHECK (num_nulls(quiet_days, quiet_start, quiet_end) IN (0, 3)),
        ADD CONSTRAINT user_notification_settings_quiet_days_check
            CHECK (cardinality(quiet_days) > 0 AND quiet_days <@ '{1,2,3,4,5,6,7}'::smallint[]),
        ADD CONSTRAINT user_notification_settings_quiet_end_check CHECK (quiet_start <> quiet_end),
        ADD CONSTRAINT user_notification_settings_paused_until_check CHECK (isfinite(paused_until));
    COMMENT ON COLUMN notify.user_notification_settings.delivery_mode IS 'realtime: letters go at once; hourly, daily, weekly: together, at that hour.';
    COMMENT ON COLUMN notify.user_notification_settings.digest_hour IS 'Hour of the daily and the weekly digest, by the person''s clock.';
    COMMENT ON COLUMN notify.user_notification_settings.digest_weekday IS 'ISO weekday of the weekly digest; 1 is Monday.';
    COMMENT ON COLUMN notify.user_notification_settings.timezone IS 'IANA time zone; null means the directory''s.';
    COMMENT ON COLUMN notify.user_notification_settings.quiet_days IS 'ISO weekdays on which quiet hours begin; null means that there are none.';
    COMMENT ON COLUMN notify.user_notification_settings.quiet_start IS 'When quiet hours begin, by the person''s clock; null with quiet_days.';
    COMMENT ON COLUMN notify.user_notification_settings.quiet_end IS 'When quiet hours end, the next day if that is before quiet_start; null with quiet_days.';
    COMMENT ON COLUMN notify.user_notification_settings.paused_until IS 'No letter before this instant but required ones; null means not paused.';
"""

UNDO = """
    UPDATE notify.user_notification_settings SET delivery_mode = 'realtime' WHERE delivery_mode <> 'realtime';
    ALTER TABLE notify.user_notification_settings
        DROP COLUMN digest_hour, DROP COLUMN digest_weekday, DROP COLUMN timezone, DROP COLUMN quiet_days,
        DROP COLUMN quiet_start, DROP COLUMN quiet_end, DROP COLUMN paused_until,
        DROP CONSTRAINT user_notification_settings_delivery_mode_check,
        ADD CONSTRAINT user_notification_settings_delivery_mode_check CHECK (delivery_mode IN ('realtime'));
    COMMENT ON COLUMN notify.user_notification_settings.delivery_mode IS 'realtime: a letter for each event, at once.';
"""


def upgrade() -> None:
    """Add the columns, and let the mode be another than realtime."""
    op.execute(SCHEMA)


def downgrade() -> None:
    """Make every mode realtime, and drop them."""
    op.execute(UNDO)
