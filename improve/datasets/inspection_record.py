"""What a run keeps of its images for people: the findings of the audit, and some training images of each class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from improve.config.schema import DatasetConfig
from improve.datasets.dataset import Dataset
from improve.datasets.findings import by_severity
from improve.datasets.pictures import class_images, strip


def audit_record(dataset: Dataset, config: DatasetConfig, folder: Path) -> dict[str, Any]:
    """The `audit_data` record (`improve.record.kinds.DataAuditRecord`); writes pictures into the run's folder."""
    (folder / "samples").mkdir(exist_ok=True)
    classes = []
    for number, one in enumerate(class_images(dataset)):
        file = f"samples/class-{number:02d}.png"
        strip(one.images).save(folder / file)
        classes.append({"name": one.name, "images": one.total, "file": file})
    return {
        "findings": [finding.as_dict() for finding in by_severity(dataset.audit)],
        "accepted": list(config.accept),
        "classes": classes,
    }
