"""Built-in fusion strategies: networks that combine the modalities into class scores."""
