"""Golden questions of a library: which passage answers what, said by the people who use it.

A passage is named by document, page and characters, never by a chunk, so that a mark means the
same under another index. `marks` makes and weighs them, `sets` makes a golden set of them for the
lab, `reading` and `writing` are files of them, `drafting` lets a model write questions.
"""
