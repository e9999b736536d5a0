"""What is due, whatever it is: claims and leases on ``work_items``, and the loop of a stage that works in batches."""
