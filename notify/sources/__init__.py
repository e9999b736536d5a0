"""
Turns what forges say into the mirror and events, from webhooks (the inbox) and by reading forges (the reconciler).

Decided: both write the mirror only from what the forge answers; a webhook only prompts a read. While
    the forge does not answer, events are made from the webhook alone and the change is marked stale.
Rejected: a mirror made of payloads. A payload that is lost, late or out of order would leave it wrong for ever.
"""
