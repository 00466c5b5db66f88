"""Networks that join the modalities into class scores."""
