"""One saved state of a run: a folder that is complete or does not exist, whenever the process was killed.

It is built aside, every file forced to disk, its manifest with the hashes of all files written last, and then renamed.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from environments.durable import force_to_disk, replace_file

MODEL_NAME, MANIFEST_NAME, CHILDREN_NAME, STATE_NAME = "model.zip", "manifest.json", "children.txt", "state"
REPLAY_NAME, SECOND_REPLAY_NAME = "replay", "second_replay"
_OWN_HASH = "manifest_sha256"


@dataclass(frozen=True)
class StoredFile:
    """A file that is on disk already, as the manifest names it.

    :param size: in bytes
    :param sha256: in hexadecimal digits
    """

    size: int
    sha256: str


WriteFiles = Callable[[Path], Mapping[str, StoredFile]]


@dataclass(frozen=True)
class Checkpoint:
    """One saved state of a run.

    :param path: its folder
    """

    path: Path

    @property
    def model(self) -> Path:
        """The model zip."""
        return self.path / MODEL_NAME

    @property
    def state(self) -> Path:
        """The folder of what resuming needs besides the model."""
        return self.path / STATE_NAME

    @property
    def replay(self) -> Path:
        """The folder of the replay buffer's chunks."""
        return self.state / REPLAY_NAME

    @property
    def second_replay(self) -> Path:
        """The folder of the chunks of a second replay buffer, from which batches are mixed."""
        return self.state / SECOND_REPLAY_NAME

    @property
    def timesteps(self) -> int:
        """Environment timesteps trained when it was saved."""
        return int(self.manifest["timesteps"])

    @property
    def manifest(self) -> dict[str, Any]:
        """Files with hashes and sizes, score, timesteps."""
        content: dict[str, Any] = json.loads((self.path / MANIFEST_NAME).read_text())
        return content

    def is_complete(self) -> bool:
        """Tell whether the manifest is there and every file has the size it names."""
        try:
            files = self.manifest["files"]
            return all((self.path / name).stat().st_size == entry["size"] for name, entry in files.items())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False

    def damage(self) -> str | None:
        """Read every file and say what is wrong with the first that is not as it was saved; None when all are."""
        try:
            manifest = self.manifest
            if manifest.get(_OWN_HASH) != _hash_of_manifest(manifest):
                return f"{MANIFEST_NAME} was changed"
            for name, entry in manifest["files"].items():
                path = self.path / name
                if not path.is_file():
                    return f"{name} is missing"
                if path.stat().st_size != entry["size"] or hash_of(path) != entry["sha256"]:
                    return f"{name} was changed"
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            return f"{MANIFEST_NAME} cannot be read ({type(error).__name__})"
        return None

    def can_be_resumed(self) -> bool:
        """Tell whether it holds more than the model."""
        return self.state.is_dir()

    def add_child(self, run_id: str) -> None:
        """Note that a run was started from here, so that this checkpoint is never deleted."""
        with open(self.path / CHILDREN_NAME, "a") as file:
            file.write(run_id + "\n")

    @property
    def has_children(self) -> bool:
        """Whether another run was started from here."""
        return (self.path / CHILDREN_NAME).exists()


def save_checkpoint(folder: Path, timesteps: int, write: WriteFiles, details: Mapping[str, Any]) -> Checkpoint:
    """Save a checkpoint; a complete one at this step is left as it is, for a run passes each step only once.

    :param folder: of all checkpoints of the run
    :param write: writes the files into a folder it is given; of those it returns, by path in that folder, hashes are
        known and content is on disk
    :param details: further entries of the manifest
    :raises OSError: when it cannot be written, naming a file of it or its folder; then nothing of it is left
    """
    checkpoint = Checkpoint(folder / f"{timesteps:09d}")
    if checkpoint.is_complete():
        return checkpoint
    aside = folder / f".{timesteps:09d}.tmp"
    delete_folder(aside)
    delete_folder(checkpoint.path)
    try:
        aside.mkdir()
        known = write(aside)
        files = {}
        for path in sorted(path for path in aside.rglob("*") if path.is_file()):
            name = str(path.relative_to(aside))
            stored = known.get(name) or _store(path)
            files[name] = {"size": stored.size, "sha256": stored.sha256}
        manifest = {"timesteps": timesteps, **details, "files": files}
        write_json(aside / MANIFEST_NAME, {**manifest, _OWN_HASH: _hash_of_manifest(manifest)})
        for path in (*(path for path in aside.rglob("*") if path.is_dir()), aside):
            force_to_disk(path)
        os.replace(aside, checkpoint.path)
    except (OSError, RuntimeError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        if (cause := _os_error_behind(error)) is not None:
            raise OSError(cause.errno, cause.strerror, cause.filename or str(checkpoint.path)) from error
        raise
    force_to_disk(folder)
    return checkpoint


def _os_error_behind(error: BaseException | None) -> OSError | None:
    """Give the OSError that an error is or came from: torch raises a RuntimeError when a write of its fails."""
    while error is not None and not (isinstance(error, OSError) and error.errno is not None):
        error = error.__cause__ or error.__context__
    return error


def delete_folder(path: Path) -> None:
    """Delete a folder if it is there; a checkpoint cut short in this is not taken for a damaged one."""
    if not path.is_dir():
        return
    doomed = path if path.name.startswith(".") else path.with_name(f".{path.name}.deleted")
    if doomed != path:
        shutil.rmtree(doomed, ignore_errors=True)
        os.replace(path, doomed)
    shutil.rmtree(doomed)


def hash_of(path: Path) -> str:
    """Give the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a JSON file, forced to disk."""
    replace_file(path, (json.dumps(dict(content), indent=1) + "\n").encode())


def _hash_of_manifest(manifest: Mapping[str, Any]) -> str:
    hashed = {name: value for name, value in manifest.items() if name != _OWN_HASH}
    return hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()


def _store(path: Path) -> StoredFile:
    """Force a file to disk and describe it."""
    force_to_disk(path)
    return StoredFile(path.stat().st_size, hash_of(path))
