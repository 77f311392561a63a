"""A bank of real trainings: pipelines × training seeds, right or wrong for each image. See README.md beside this."""
