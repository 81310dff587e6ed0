"""`make bench`: how fast this product is, compared with bare Flask and AppBuilder SDK 1.1.5."""
