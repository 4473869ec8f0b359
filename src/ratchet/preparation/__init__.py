"""From raw rows to features: the same code for training, scoring and answering.

``contract.typed_rows`` applies the contract of the raw file; ``row_features.row_features`` and
``window_columns.window_features`` make features of prepared rows, as the pipelines do for training;
``answering.features_of`` makes them of any rows, whether or not their targets are known yet.

``required_columns`` and ``fingerprints.hashed_columns`` serve processes without pandas, too.
"""
