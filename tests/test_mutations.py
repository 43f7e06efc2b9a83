"""A file with some bytes changed is read, or refused in plain words; nothing else happens."""

from __future__ import annotations

from tests.mutations import outcomes, seeds


def test_every_seed_is_a_valid_file_of_its_format() -> None:
    from rag.documents.events import Finished, PageText, Source
    from rag.documents.formats import FORMATS, detect, suffix

    for name, content in seeds().items():
        source = Source(content, name, 20_000_000, 200, 1)
        key = detect(source)
        assert suffix(name) in FORMATS[key].suffixes
        events = [*FORMATS[key].read(source), Finished()]
        assert any(isinstance(event, PageText) and event.text for event in events), name


def test_changed_files_end_in_text_or_in_words() -> None:
    found = outcomes(count=150, seed=34)
    assert found.wrong == []
    assert found.files == 150
    assert found.read
    assert found.refused
