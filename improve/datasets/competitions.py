"""Images of Kaggle's competitions: the user's copy (`dataset.path`), else by Kaggle's client with the user's token."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from improve.config.invocation import install_extra
from improve.config.schema import DatasetConfig
from improve.datasets.fetch import check_folder, fetching, unpack
from improve.datasets.files import state
from improve.datasets.source import Downloads, Source
from improve.datasets.sources.folder import from_folders, key_of, scan
from improve.datasets.table import checked, read_table, source_of
from improve.errors import DataError


@dataclass(frozen=True)
class Competition:
    """A competition of Kaggle's.

    `source`: our name of it; `slug`: Kaggle's; `title`: what people call it. `signs`: files or folders, relative to the
    unpacked download's folder, the first of which that exists is where the images are described.
    """

    source: str
    slug: str
    title: str
    signs: tuple[str, ...]

    @property
    def by_hand(self) -> str:
        return (
            f"download it at https://www.kaggle.com/competitions/{self.slug}/data (join the competition first), unpack "
            "it and give its folder as dataset.path=DIR"
        )

    def find(self, config: DatasetConfig, downloads: Downloads) -> Path | None:
        """The file or folder of `signs` that is there. Raises `DataError` if `dataset.path` has none of them."""
        root = downloads.root(config, self.source)
        check_folder(config.path)
        found = next((root / sign for sign in self.signs if (root / sign).exists()), None)
        if found is None and config.path:
            raise DataError(
                f"dataset.path={config.path} does not hold {self.title}: there is no {' or '.join(self.signs)}.",
                self.by_hand,
            )
        return found

    def check(self, config: DatasetConfig, downloads: Downloads) -> Path | None:
        """`find`; refuses at once if the images are neither there nor could be downloaded."""
        found = self.find(config, downloads)
        if found is None:
            self._client()
        return found

    def get(self, config: DatasetConfig, downloads: Downloads, notify: Callable[[str], None]) -> Path:
        """`find`, after a download if it is needed. Raises `DataError` if that cannot be done."""
        found = self.find(config, downloads)
        if found is not None:
            return found
        root = downloads.root(config, self.source)
        client = self._client()
        notify(f"downloading {self.title} from Kaggle to {root}")
        with fetching(self.title, root, self.by_hand, downloads, notify):
            # Another run may have been first while we waited.
            if self.find(config, downloads) is None:
                client.competition_download_files(self.slug, path=str(downloads.folder), quiet=False)
                unpack(downloads.folder / f"{self.slug}.zip", root)
        found = self.find(config, downloads)
        if found is None:
            raise DataError(f"The download in {root} does not hold {' or '.join(self.signs)}.", self.by_hand)
        return found

    def _client(self) -> Any:
        """Kaggle's own client, which finds the user's token by itself. Raises `DataError` without it or a token."""
        try:
            # It talks on stdout, and exits where it finds no token.
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                from kaggle.api.kaggle_api_extended import KaggleApi

                client = KaggleApi()
                client.authenticate()
        except ModuleNotFoundError as error:
            raise DataError(
                f"{self.title} is on Kaggle, and Kaggle's client is not installed.",
                f"{install_extra('kaggle')} if you have a token of Kaggle's; else {self.by_hand}",
            ) from error
        except (OSError, ValueError, SystemExit) as error:
            raise DataError(
                f"{self.title} is on Kaggle, and its client finds no token.",
                "put a token from https://www.kaggle.com/settings into ~/.kaggle (as `kaggle auth login` does); or "
                f"{self.by_hand}",
            ) from error
        return client


class FolderCompetition(Competition):
    """One whose labelled images lie in a folder for each class."""

    def key(self, config: DatasetConfig, downloads: Downloads) -> str:
        folder = self.check(config, downloads)
        return key_of(scan(folder, config)) if folder and config.path else self.source

    def load(self, config: DatasetConfig, downloads: Downloads, notify: Callable[[str], None]) -> Source:
        return from_folders(scan(self.get(config, downloads, notify), config))


@dataclass(frozen=True)
class TableCompetition(Competition):
    """One whose labelled images are the rows of train.csv, with their classes in its column `label`.

    `image`: from the cell of a row's `column` to the image's file. `class_names`: a JSON file that names the labels.
    """

    signs: tuple[str, ...] = ("train.csv",)
    column: str = ""
    image: Callable[[str], str] = str
    class_names: str = ""

    def key(self, config: DatasetConfig, downloads: Downloads) -> str:
        table = self.check(config, downloads)
        return state([table, *self._images(table)]) if table and config.path else self.source

    def load(self, config: DatasetConfig, downloads: Downloads, notify: Callable[[str], None]) -> Source:
        table = self.get(config, downloads, notify)
        labels = read_table(table).column("label", "column")
        if self.class_names:
            names = self._names(table.parent / self.class_names)
            checked(labels, names.__contains__, "column 'label'", names)
            labels = [names[label] for label in labels]
        return source_of(self._images(table), labels, config)

    def _images(self, table: Path) -> list[Path]:
        return [table.parent / self.image(cell) for cell in read_table(table).column(self.column, "column")]

    def _names(self, file: Path) -> dict[str, str]:
        try:
            names: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{file} cannot be read ({error}).", self.by_hand) from error
        return names
