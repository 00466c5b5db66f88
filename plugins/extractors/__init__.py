"""From a recording to one array: the modalities."""
