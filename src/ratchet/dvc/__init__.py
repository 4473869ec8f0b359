"""Data and models in DVC: the stages of ``dvc.yaml``, and the versions in a store of their own."""
