"""Reports, charts and the status page: from tables of results to pages that people read."""
