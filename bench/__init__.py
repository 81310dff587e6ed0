"""`make bench`: how fast this product is, beside bare Flask and beside AppBuilder SDK 1.1.5."""
