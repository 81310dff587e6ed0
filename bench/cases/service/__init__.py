"""`appbuilder serve` compared with bare Starlette on the same server, and with other frameworks' servers."""
