"""Searching models by words and by names that are nearly right."""

import re
import unicodedata


def split_words(text: str) -> list[str]:
    """The words of a text as they are searched: without case and accents, split at punctuation.

    ``ResNet-18 (CIFAR10)`` gives ``resnet``, ``18``, ``resnet18``, ``cifar``, ``10``, ``cifar10``.
    """
    plain = unicodedata.normalize("NFKD", text.lower())
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    found: list[str] = []
    for joined in re.findall(r"[a-z0-9]+(?:[-_.][a-z0-9]+)*", plain):
        pieces = re.split(r"[-_.]", joined)
        found += pieces
        found += ["".join(pair) for pair in zip(pieces, pieces[1:], strict=False)]
        for piece in pieces:
            found += re.findall(r"[a-z]+|[0-9]+", piece)
    return list(dict.fromkeys(found))
