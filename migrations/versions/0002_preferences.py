"""
Create what people prefer: kinds of events, settings, preferences, and preferences about single topics.

Phase: add          Locks: 4 new tables, nobody waits
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
        expires_after INTERVAL DEFAULT '72 hours' NOT NULL,
        bundle_within INTERVAL,
        CONSTRAINT notification_event_types_pkey PRIMARY KEY (code),
        CONSTRAINT notification_event_types_bundle_within_check CHECK (bundle_within BETWEEN interval '0' AND interval '1 day'),
        CONSTRAINT notification_event_types_expires_after_check CHECK (expires_after > interval '0')
    );
    COMMENT ON TABLE notify.notification_event_types IS 'Event types that people can turn on and off; rows come from migrations.';
    COMMENT ON COLUMN notify.notification_event_types.code IS 'Event type, such as cl.comment.created.';
    COMMENT ON COLUMN notify.notification_event_types.category IS 'Group on the preferences page.';
    COMMENT ON COLUMN notify.notification_event_types.description IS 'Label on the preferences page.';
    COMMENT ON COLUMN notify.notification_event_types.system_required IS 'True: nobody can turn it off.';
    COMMENT ON COLUMN notify.notification_event_types.default_enabled IS 'Whether it is on for people without a stored preference.';
    COMMENT ON COLUMN notify.notification_event_types.expires_after IS 'For how long an email of this type is still sent.';
    COMMENT ON COLUMN notify.notification_event_types.bundle_within IS 'How long notifications are bundled; null: NOTIFY_BUNDLE_SECONDS; 0: never.';

    CREATE TABLE notify.user_notification_settings (
        username TEXT NOT NULL,
        email TEXT,
        enabled BOOLEAN DEFAULT true NOT NULL,
        delivery_mode TEXT DEFAULT 'realtime' NOT NULL,
        participating BOOLEAN DEFAULT false NOT NULL,
        own_actions BOOLEAN DEFAULT false NOT NULL,
        mentions_pierce_mutes BOOLEAN DEFAULT false NOT NULL,
        digest_hour SMALLINT DEFAULT 9 NOT NULL,
        digest_weekday SMALLINT DEFAULT 1 NOT NULL,
        timezone TEXT,
        quiet_days SMALLINT[],
        quiet_start TIME WITHOUT TIME ZONE,
        quiet_end TIME WITHOUT TIME ZONE,
        paused_until TIMESTAMP WITH TIME ZONE,
        CONSTRAINT user_notification_settings_pkey PRIMARY KEY (username),
        CONSTRAINT user_notification_settings_delivery_mode_check CHECK (delivery_mode IN ('realtime', 'hourly', 'daily', 'weekly')),
        CONSTRAINT user_notification_settings_digest_hour_check CHECK (digest_hour BETWEEN 0 AND 23),
        CONSTRAINT user_notification_settings_digest_weekday_check CHECK (digest_weekday BETWEEN 1 AND 7),
        CONSTRAINT user_notification_settings_quiet_whole_check CHECK (num_nulls(quiet_days, quiet_start, quiet_end) IN (0, 3)),
        CONSTRAINT user_notification_settings_quiet_days_check CHECK (cardinality(quiet_days) > 0 AND quiet_days <@ '{1,2,3,4,5,6,7}'::smallint[]),
        CONSTRAINT user_notification_settings_quiet_end_check CHECK (quiet_start <> quiet_end),
        CONSTRAINT user_notification_settings_paused_until_check CHECK (isfinite(paused_until))
    );
    CREATE INDEX user_notification_settings_participating ON notify.user_notification_settings (username) WHERE participating;
    COMMENT ON INDEX notify.user_notification_settings_participating IS 'The fan-out looks for people who want emails about change lists they commented on.';
    COMMENT ON TABLE notify.user_notification_settings IS 'Preferences about all emails; no row: the defaults.';
    COMMENT ON COLUMN notify.user_notification_settings.username IS 'The person''s username.';
    COMMENT ON COLUMN notify.user_notification_settings.email IS 'Address for emails; null: the address in people.';
    COMMENT ON COLUMN notify.user_notification_settings.enabled IS 'The master switch; false: required emails only.';
    COMMENT ON COLUMN notify.user_notification_settings.delivery_mode IS 'realtime: immediately; hourly, daily, weekly: digests.';
    COMMENT ON COLUMN notify.user_notification_settings.participating IS 'True: notify them where they have commented.';
    COMMENT ON COLUMN notify.user_notification_settings.own_actions IS 'True: notify them about their own actions.';
    COMMENT ON COLUMN notify.user_notification_settings.mentions_pierce_mutes IS 'True: mentions reach them despite a mute.';
    COMMENT ON COLUMN notify.user_notification_settings.digest_hour IS 'Hour of daily and weekly digests, in the person''s time zone.';
    COMMENT ON COLUMN notify.user_notification_settings.digest_weekday IS 'ISO weekday of the weekly digest; 1 is Monday.';
    COMMENT ON COLUMN notify.user_notification_settings.timezone IS 'IANA time zone; null: the one in people.';
    COMMENT ON COLUMN notify.user_notification_settings.quiet_days IS 'ISO weekdays on which quiet hours begin; null: no quiet hours.';
    COMMENT ON COLUMN notify.user_notification_settings.quiet_start IS 'When quiet hours begin, in the person''s time zone; null with quiet_days.';
    COMMENT ON COLUMN notify.user_notification_settings.quiet_end IS 'When quiet hours end, on the next day if before quiet_start; null with quiet_days.';
    COMMENT ON COLUMN notify.user_notification_settings.paused_until IS 'Until then only required emails are sent; null: not paused.';

    CREATE TABLE notify.user_notification_preferences (
        username TEXT NOT NULL,
        event_type_code TEXT NOT NULL,
        enabled BOOLEAN NOT NULL,
        CONSTRAINT user_notification_preferences_pkey PRIMARY KEY (username, event_type_code),
        CONSTRAINT user_notification_preferences_event_type_code_fkey FOREIGN KEY(event_type_code) REFERENCES notify.notification_event_types (code) ON DELETE CASCADE
    );
    COMMENT ON TABLE notify.user_notification_preferences IS 'Preferences about single event types; no row: the type''s default.';
    COMMENT ON COLUMN notify.user_notification_preferences.username IS 'The person''s username.';
    COMMENT ON COLUMN notify.user_notification_preferences.event_type_code IS 'The event type.';
    COMMENT ON COLUMN notify.user_notification_preferences.enabled IS 'True: on; false: off.';

    CREATE TABLE notify.topic_preferences (
        username TEXT NOT NULL,
        topic TEXT NOT NULL,
        muted BOOLEAN DEFAULT false NOT NULL,
        subscribed BOOLEAN DEFAULT false NOT NULL,
        CONSTRAINT topic_preferences_pkey PRIMARY KEY (username, topic),
        CONSTRAINT topic_preferences_says_something_check CHECK (muted OR subscribed)
    );
    CREATE INDEX topic_preferences_subscribers ON notify.topic_preferences (topic, username) WHERE subscribed;
    COMMENT ON INDEX notify.topic_preferences_subscribers IS 'The fan-out looks up a topic''s subscribers.';
    COMMENT ON TABLE notify.topic_preferences IS 'Mutes and subscriptions; no row: neither. The topic need not be in change_lists yet.';
    COMMENT ON COLUMN notify.topic_preferences.username IS 'The person''s username.';
    COMMENT ON COLUMN notify.topic_preferences.topic IS 'The change list.';
    COMMENT ON COLUMN notify.topic_preferences.muted IS 'True: no emails about it, even if subscribed.';
    COMMENT ON COLUMN notify.topic_preferences.subscribed IS 'True: emails about it, whatever the person''s role.';
"""


def upgrade() -> None:
    """Create the tables."""
    op.execute(SCHEMA)


def downgrade() -> None:
    """Drop the tables."""
    op.execute("DROP TABLE notify.topic_preferences")
    op.execute("DROP TABLE notify.user_notification_preferences")
    op.execute("DROP TABLE notify.user_notification_settings")
    op.execute("DROP TABLE notify.notification_event_types")
