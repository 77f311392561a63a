"""Cassava Leaf Disease (Kaggle, 2020): 21,397 photos of leaves, 5 classes. Its test set is hidden, so 80/20.

The files: train.csv (image_id, label 0…4), train_images/, label_num_to_disease_map.json.
"""

from __future__ import annotations

from improve.datasets.competitions import TableCompetition

CASSAVA = TableCompetition(
    "cassava",
    "cassava-leaf-disease-classification",
    "Cassava Leaf Disease Classification",
    column="image_id",
    image=lambda name: f"train_images/{name}",
    class_names="label_num_to_disease_map.json",
)
key, load = CASSAVA.key, CASSAVA.load
