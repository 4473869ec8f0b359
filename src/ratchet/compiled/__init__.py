"""Answers of a bundle by NumPy alone, from raw fields, in milliseconds.

A bundle answers through pandas, scikit-learn and Keras, which is right for many rows and slow for
one. ``compile_bundle`` turns what was fitted into flat arrays and small functions of arrays; a
process that holds only those imports none of these libraries. Nothing compiled is kept on disk: it
is compiled from the verified bundle each time a version is loaded.
"""
