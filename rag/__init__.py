"""RankLens: answers from your own documents, with the reason for every source."""

__version__ = "0.1.0"
