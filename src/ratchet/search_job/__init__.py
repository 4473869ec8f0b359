"""The work of a search among networks that the service was asked for; a process of its own."""
