"""The library on disk: documents, pages, passages and their vectors in one LanceDB URI.

| table | a row is |
|---|---|
| `documents` | a document of the listing and its status |
| `originals` | the bytes of a file, written once, never read by listings |
| `pages` | the text of one page |
| `chunks_<fingerprint>` | a passage with its dense vector and its token codes; one index |
| `indexes` | an index: its settings, and whether it was built |
| `questions` | what somebody asked, with its trace and answer |
| `golden` | whether a passage answers a question, as a person or a file said |
| `measurements` | a figure that was measured once on this library |

The chunks of a document come in one commit, and that commit makes the document searchable.
"""

from rag.store.indexes import Indexes
from rag.store.library import Store
from rag.store.recovery import recover_unopened
from rag.store.verifying import DamagedDocument, DamagedFile, Verification, verify

__all__ = [
    "DamagedDocument",
    "DamagedFile",
    "Indexes",
    "Store",
    "Verification",
    "recover_unopened",
    "verify",
]
