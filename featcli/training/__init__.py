"""Whatever is trained by gradient: one loop, what it reads, and what it leaves behind."""
