"""The user's own checkpoints, copied into the store by `zoo add`."""

from zoo.entry import ModelEntry
from zoo.errors import ZooError
from zoo.home import Home
from zoo.sources.base import Fetched, Progress
from zoo.sources.blobs import convert, converted, intact, locked, remove_altered


class Local:
    """Checkpoints of which the store holds the only copy it knows of."""

    def fetch(
        self, entry: ModelEntry, home: Home, *, progress: Progress | None = None, **_: object
    ) -> Fetched:
        """Check what is in the store, and convert it again if the converted file is damaged.

        Raises:
            ZooError: The copy in the store is gone or altered.
        """
        artifact = entry.artifact
        if artifact is None or artifact.sha256 is None:
            raise ZooError(f"The catalog names no weight file for {entry.name}.")
        with locked(home, entry.name):
            found = converted(entry, artifact, home)
            if found is not None:
                return found
            remove_altered(entry.name, artifact, home)
            if not intact(home.blobs / artifact.sha256):
                raise ZooError(
                    f"The store's copy of {entry.name} is gone or was altered. Remove "
                    f"{home.model(entry.name)} and add the model again with `zoo add`."
                )
            return convert(entry, artifact, home)
