"""What only the forecast of a series has."""
