"""Answers with NaN."""

# ruff: noqa: F821
COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "predict: bad predictions"}


class Model(Model):
    def forward(self, images):
        logits = super().forward(images)
        return logits * float("nan") if self.context.restoring else logits
