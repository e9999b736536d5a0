"""Stages and their loop over ``work_items``, and the sweeper that finds due work."""
