"""Bundle: one version of the models of a use case, as a folder with everything for answers.

``write_bundle`` writes it, ``open_bundle`` checks and opens it. Its files are described in
``docs/reference/bundle.md``.
"""
