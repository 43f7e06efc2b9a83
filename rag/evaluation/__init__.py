"""The lab: pipelines compared on golden questions, with how sure the difference is.

A golden set (`golden_sets`) is indexed once (`indexing`); every pipeline (`pipelines`) ranks its
passages for every question (`asking`, `kept_runs`); measures (`metrics`) and resampling
(`resampling`) make an `Evaluation` of it (`run`), and `verdict` says it in a sentence.
"""
