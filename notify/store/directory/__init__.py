"""Who reads mail where, what people prefer, and who may call."""
