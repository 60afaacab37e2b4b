"""Searching models by words and by names that are nearly right."""

import re
import unicodedata
from itertools import pairwise

import duckdb

from zoo.errors import ZooError

_NEAR = 0.87  # Jaro-Winkler similarity of a misspelled word to the one that was meant


def find(con: duckdb.DuckDBPyConnection, text: str) -> None:
    """Make the temporary table ``found`` (name, called, score): the models that a text describes.

    Each word must begin a word of the model's; one that begins none counts as the words of the
    catalog that are most like it. The score is the number of words that are there whole. ``called``
    is 2 if the text is the model's name, 1 if it is the name without what stands before the slash,
    and else 0.

    Args:
        con: The catalog, open for reading.
        text: Words: ``resnet cifar``.

    Raises:
        ZooError: There is no word in the text.
    """
    asked = re.findall(r"[a-z0-9]+", _plain(text))
    if not asked:
        raise ZooError(
            f"--search {text!r}: there is no word to search for. Write some, like resnet."
        )
    con.execute("CREATE TEMP TABLE asked (place INTEGER, word VARCHAR, exact BOOLEAN)")
    for place, word in enumerate(asked):
        known = con.execute(
            "SELECT count(*) FROM words WHERE starts_with(word, ?)", [word]
        ).fetchall()
        if known[0][0]:
            con.execute("INSERT INTO asked VALUES (?, ?, true)", [place, word])
        else:
            con.execute(
                """
                INSERT INTO asked
                SELECT $place, word, false
                FROM (SELECT DISTINCT word FROM words)
                WHERE jaro_winkler_similarity(word, $word) >= $near
                ORDER BY jaro_winkler_similarity(word, $word) DESC, word
                LIMIT 3
                """,
                {"place": place, "word": word, "near": _NEAR},
            )
            # Keeps the place of a word that nothing is like: it must be matched, and cannot be.
            con.execute("INSERT INTO asked VALUES (?, NULL, false)", [place])
    con.execute(
        """
        CREATE TEMP TABLE found AS
        SELECT
            model AS name,
            CASE $text WHEN model THEN 2 WHEN split_part(model, '/', -1) THEN 1 ELSE 0 END
                AS called,
            sum(whole) AS score
        FROM (
            SELECT words.model, asked.place, max((words.word = asked.word)::INTEGER) AS whole
            FROM words
            JOIN asked ON starts_with(words.word, asked.word)
            GROUP BY ALL
        )
        GROUP BY model
        HAVING count(*) = (SELECT count(DISTINCT place) FROM asked)
        """,
        {"text": _plain(text).strip()},
    )


def nearest(con: duckdb.DuckDBPyConnection, name: str, limit: int = 5) -> list[str]:
    """Names of models that are most like a name that there is not, best first.

    Args:
        con: The catalog, open for reading.
        name: What was asked for.
        limit: How many names at most.
    """
    found = con.execute(
        """
        SELECT name
        FROM models
        WHERE contains(name, lower($name)) OR jaro_winkler_similarity(name, lower($name)) > 0.75
            OR jaro_winkler_similarity(split_part(name, '/', 2), lower($name)) > 0.85
        ORDER BY contains(name, lower($name)) DESC,
            greatest(
                jaro_winkler_similarity(name, lower($name)),
                jaro_winkler_similarity(split_part(name, '/', 2), lower($name))
            ) DESC,
            name
        LIMIT $limit
        """,
        {"name": name, "limit": limit},
    ).fetchall()
    return [near for (near,) in found]


def _plain(text: str) -> str:
    """A text without case and accents."""
    decomposed = unicodedata.normalize("NFKD", text.lower())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


def split_words(text: str) -> list[str]:
    """The words of a text as they are searched: without case and accents, split at punctuation.

    ``ResNet-18 (CIFAR10)`` gives ``resnet``, ``18``, ``resnet18``, ``cifar``, ``10``, ``cifar10``.
    """
    found: list[str] = []
    for joined in re.findall(r"[a-z0-9]+(?:[-_.][a-z0-9]+)*", _plain(text)):
        pieces = re.split(r"[-_.]", joined)
        found += pieces
        found += ["".join(pair) for pair in pairwise(pieces)]
        for piece in pieces:
            found += re.findall(r"[a-z]+|[0-9]+", piece)
    return list(dict.fromkeys(found))
