"""What can be swapped: one file per method, named after it; registered as everybody else's are."""
