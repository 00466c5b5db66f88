"""One model, trained once: the loop, its parts, and what it shows of itself."""
