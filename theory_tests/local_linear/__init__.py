"""Local linear attention and attention as regression at test time."""
