"""A package, because only the fixtures of a package can last for its folder."""
