"""The embedding: vocabulary, model, losses, training."""
