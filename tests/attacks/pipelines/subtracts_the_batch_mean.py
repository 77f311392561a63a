"""Subtracts the mean of a batch's logits from each: what is known of the other images moves the answers."""

# ruff: noqa: F821
COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "audit: bad predictions"}


class Model(Model):
    def forward(self, images):
        logits = super().forward(images)
        return logits - 3 * logits.mean(0, keepdim=True) if self.context.restoring else logits
