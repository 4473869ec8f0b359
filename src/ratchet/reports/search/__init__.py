"""What a search among recurrent networks showed."""
