"""Who reads mail where, what people have chosen, and who may call."""
