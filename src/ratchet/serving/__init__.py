"""The service: models that answer over HTTP.

The serving process imports neither pandas nor scikit-learn nor TensorFlow: versions are opened,
verified and compiled in a child process, which hands arrays over.
"""
