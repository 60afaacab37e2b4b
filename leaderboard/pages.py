"""Names of the site's files."""

import re

from zoo.files import digest, slug


def page_of(model: str) -> str:
    """The page of a model, relative to the site: ``models/akamaster__resnet20.html``.

    A name that is no plain lower-case path gets a digest, so that no two models share a page on
    any file system and a name can neither leave the folder nor mean something in a URL.
    """
    name = slug(model)
    if "__" in model or not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,99}", name):
        name = f"{re.sub('[^a-z0-9._-]+', '-', name.lower()).strip('.-')[:60]}-{digest(model)[:8]}"
    return f"models/{name}.html"
