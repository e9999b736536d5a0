"""Read by the embedded Flower when it starts (FLOWER_CONF), in the place of a file of its options."""

from flower import command  # type: ignore[import-untyped]

from notify.embedded.flower_guard import LocalFlower

command.Flower = LocalFlower
