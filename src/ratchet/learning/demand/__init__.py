"""Demand of many segments as a function of price, and the prices that follow from it."""
