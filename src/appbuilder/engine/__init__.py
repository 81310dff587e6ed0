"""One turn, from the request to the durable answer."""
