"""
What forges say becomes the mirror and events: by webhook (the inbox), and by reading (the reconciler).

Decided: both write the mirror only from what the forge answers; a webhook is a reason to ask. While the forge does not
    answer, an event is told with what the webhook says, and the change is marked stale.
Rejected: a mirror made of payloads. One that is lost, late or out of order would stay wrong for ever.
"""
