"""Stages and their loop over ``work_items``, the sweeper that finds due work, and whether a forge may be asked."""
