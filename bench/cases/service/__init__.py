"""`appbuilder serve` beside bare Starlette on the same server, and beside other frameworks' servers."""
